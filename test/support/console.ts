import { errorFields, frontend } from './peer-messages.ts';
import { connectAndLogin, type ScriptedPeer } from './scripted-peer.ts';

/** A row of a SHOW. */
export type Row = Record<string, string | number | null>;

/** Logs in to the console as `user`, without a password; to a TCP port or a unix socket's path. */
export function connectConsole(to: number | string, user: string): Promise<ScriptedPeer> {
  return connectAndLogin(to, { user, database: 'pgbouncer' });
}

/** Runs a command and gives its exact tag, or the fields S, C and M of its error. */
export async function runOn(peer: ScriptedPeer, command: string): Promise<string> {
  await peer.send(frontend.query(command));
  const messages = await peer.messagesTo('Z');
  const { type, body } = messages.at(-2) ?? { type: '', body: Buffer.alloc(0) };
  if (type === 'C') return body.toString('utf8', 0, body.length - 1);
  const { S, C, M } = errorFields(body);
  return `${S} ${C} ${M}`;
}

/** As {@link runOn}, on a connection of its own. */
export async function runAlone(to: number | string, user: string, command: string): Promise<string> {
  const peer = await connectConsole(to, user);
  try {
    return await runOn(peer, command);
  } finally {
    await peer.close();
  }
}

/** A promise that can be asked whether it has settled; it may reject without being awaited. */
export interface Watched<T> {
  readonly promise: Promise<T>;
  settled: boolean;
}

/** Notes when a promise settles, without waiting for it. */
export function watch<T>(promise: Promise<T>): Watched<T> {
  const watched = { promise, settled: false };
  const settle = () => {
    watched.settled = true;
  };
  promise.then(settle, settle);
  return watched;
}
