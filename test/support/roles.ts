import pg from 'pg';
import type { PostgresAddress } from '../../src/cli/start/postgres.ts';
import { withClient } from './postgres.ts';

/** How PostgreSQL asks a role for its password. */
export type RoleAuth = 'trust' | 'password' | 'md5' | 'scram';

/** A role to be made. */
export interface RoleOptions {
  readonly name: string;
  readonly auth: RoleAuth;
  /** Stored as MD5 with `md5`, as a SCRAM verifier otherwise; none by default. */
  readonly password?: string;
  /** More of CREATE ROLE's options, such as `CONNECTION LIMIT 5`. */
  readonly options?: string;
}

/** Makes a role that logs in as `auth` says and gives its `rolpassword`, null without password. */
export async function createRole(address: PostgresAddress, role: RoleOptions): Promise<string | null> {
  const name = pg.escapeIdentifier(role.name);
  return withClient(address, async (client) => {
    await client.query(`SET password_encryption = '${role.auth === 'md5' ? 'md5' : 'scram-sha-256'}'`);
    const password = role.password === undefined ? '' : `PASSWORD ${pg.escapeLiteral(role.password)}`;
    await client.query(`CREATE ROLE ${name} LOGIN ${role.options ?? ''} ${password}`);
    if (role.auth !== 'scram') await client.query(`GRANT auth_${role.auth} TO ${name}`);
    const stored = await client.query<{ rolpassword: string | null }>(
      'SELECT rolpassword FROM pg_authid WHERE rolname = $1',
      [role.name],
    );
    return stored.rows[0]?.rolpassword ?? null;
  });
}

/** Makes a database, owned by `owner` if given. */
export async function createDatabase(address: PostgresAddress, name: string, owner?: string): Promise<void> {
  const owned = owner === undefined ? '' : ` OWNER ${pg.escapeIdentifier(owner)}`;
  await withClient(address, (client) => client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}${owned}`));
}
