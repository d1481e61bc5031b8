import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PostgresAddress } from './postgres.ts';

/** Writes `pgbouncer.ini` and the `userlist.txt` it names into `folder`; returns the path of the former. */
export function writeDemoConfig(folder: string, postgres: PostgresAddress, port: number): string {
  const iniPath = join(folder, 'pgbouncer.ini');
  const userlistPath = join(folder, 'userlist.txt');
  const ini = `; Written by npm start, and removed when it ends.

[databases]
; Every database name is looked for on this server.
* = host=${postgres.host} port=${postgres.port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir = ${folder}
auth_type = scram-sha-256
auth_file = ${userlistPath}
admin_users = ${postgres.user}
pool_mode = transaction
default_pool_size = 20
`;
  // The password in clear: the pooler needs it to log in to PostgreSQL.
  writeFileSync(userlistPath, `"${postgres.user}" "${postgres.password}"\n`, { mode: 0o600 });
  writeFileSync(iniPath, ini, { mode: 0o600 });
  return iniPath;
}

/** What is told once everything runs: where it is, and lines to paste. */
export function demoText(iniPath: string, postgres: PostgresAddress, port: number): string {
  const login = `host=127.0.0.1 port=${port} user=${postgres.user} password=${postgres.password}`;
  return `
${postgres.version} on 127.0.0.1:${postgres.port}, pgweir in transaction mode on 127.0.0.1:${port}
Configuration: ${iniPath} (goes at the end, like all data)

  psql "${login} dbname=postgres"
  psql "${login} dbname=pgbouncer" -c "SHOW POOLS"

Ctrl-C ends both.
`;
}
