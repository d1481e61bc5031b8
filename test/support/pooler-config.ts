import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PostgresAddress } from '../../src/cli/start/postgres.ts';

/** Names how many threads serve clients in each pooler that tests start; 1 where it is not set. */
export const WORKERS_VARIABLE = 'PGWEIR_TEST_WORKERS';

/** That number. */
export function workersOfTests(): number {
  return Number(process.env[WORKERS_VARIABLE] ?? '1');
}

/** Lines of a section by their keys; values are written as they are. */
export type Section = Readonly<Record<string, string | number>>;

/** What a test's pooler is configured with; everything has a default that works. */
export interface PoolerConfig {
  /** `[pgbouncer]`, over the defaults of {@link writePoolerConfig}. */
  readonly settings?: Section;
  /** `[databases]`, in place of `*`. A value that names no `host=` gets that of the PostgreSQL in front. */
  readonly databases?: Readonly<Record<string, string>>;
  /** `[users]`. */
  readonly users?: Readonly<Record<string, string>>;
  /** `[peers]`, by their ids. */
  readonly peers?: Readonly<Record<number, string>>;
  /** `[pgweir]`. */
  readonly own?: Section;
  /** Secrets of users by name, beside the superuser's, who is always there. */
  readonly userlist?: Readonly<Record<string, string>>;
  /** The whole file, in place of everything above but `userlist`. */
  readonly text?: string;
}

/**
 * Writes `pgbouncer.ini` and `userlist.txt` into `folder` and gives the former's path. By default: session mode
 * as PgBouncer's, as many threads as the run's, trust, a free port of 127.0.0.1 and a unix socket in `folder`, every database looked for on
 * `postgres`, whose superuser is admin.
 */
export function writePoolerConfig(folder: string, postgres: PostgresAddress, config: PoolerConfig): string {
  const iniPath = join(folder, 'pgbouncer.ini');
  const userlistPath = join(folder, 'userlist.txt');
  const secrets = Object.entries({ [postgres.user]: postgres.password, ...config.userlist });
  writeFileSync(
    userlistPath,
    secrets.map(([name, secret]) => `${quoted(name)} ${quoted(secret)}\n`).join(''),
    { mode: 0o600 },
  );
  const server = `host=${postgres.host} port=${postgres.port}`;
  const databases = Object.entries(config.databases ?? { '*': '' }).map(([name, value]): [string, string] => [
    name,
    /\bhost=/.test(value) ? value : `${server} ${value}`,
  ]);
  const settings = {
    listen_addr: '127.0.0.1',
    listen_port: 0,
    unix_socket_dir: folder,
    auth_type: 'trust',
    auth_file: userlistPath,
    admin_users: postgres.user,
    // Servers that tests play know no SSLRequest.
    server_tls_sslmode: 'disable',
    ...config.settings,
  };
  const sections: [string, [string, string | number][]][] = [
    ['databases', databases],
    ['users', Object.entries(config.users ?? {})],
    ['peers', Object.entries(config.peers ?? {})],
    ['pgbouncer', Object.entries(settings)],
    [
      'pgweir',
      Object.entries({ ...(workersOfTests() === 1 ? {} : { workers: workersOfTests() }), ...config.own }),
    ],
  ];
  const text = sections
    .map(([name, lines]) => `[${name}]\n${lines.map(([key, value]) => `${key} = ${value}\n`).join('')}`)
    .join('\n');
  writeFileSync(iniPath, config.text ?? text, { mode: 0o600 });
  return iniPath;
}

/** As the userlist quotes: a doubled quote stands for one. */
function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}
