import { ADMIN_DATABASE } from '../admin/access.ts';
import type { Settings } from '../config/settings.ts';
import { unixSocketPath } from '../net/unix-socket.ts';
import { askServer, type Rows } from '../server/question.ts';

/** How long `pgweir ping` waits for an answer. */
const PING_MS = 5000;

/**
 * Runs a command on the console of the pooler that listens on the unix socket at `path`. Whoever runs as the same system
 * user enters so without a password. Rejects with why there is no answer.
 */
export function askConsole(
  path: string,
  command: string,
  { applicationName, timeoutMs }: { readonly applicationName: string; readonly timeoutMs: number },
): Promise<Rows> {
  const asker = {
    user: ADMIN_DATABASE,
    database: ADMIN_DATABASE,
    credentials: { secretText: null, scramKeys: null },
    applicationName,
  };
  return askServer({ path }, asker, command, { tls: null, timeoutMs });
}

/**
 * Asks the pooler that runs with these settings how it is: `active`, `paused` or `suspended`. Rejects with why there is
 * no answer. A pooler that is paused, waits for its clients to leave, or has no place for more answers all the same.
 */
export async function askState({
  unix_socket_dir: dir,
  listen_port: port,
}: Pick<Settings, 'unix_socket_dir' | 'listen_port'>): Promise<string> {
  if (dir === '') throw new Error('ping needs a unix socket (unix_socket_dir)');
  const options = { applicationName: 'pgweir ping', timeoutMs: PING_MS };
  const rows = await askConsole(unixSocketPath(dir, port), 'SHOW STATE', options);
  const [state] = rows.find(([, value]) => value === 'yes') ?? [];
  if (state === undefined || state === null) throw new Error('the console does not say how it is');
  return state;
}
