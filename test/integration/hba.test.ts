import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { openNative } from '../../src/net/native.ts';
import { type LocalPooler, spawnPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { errorFields, frontend } from '../support/peer-messages.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { goByRules } from '../support/hba-rules.ts';

const PASSWORD = 'hba right one';
const OWN = userInfo().username;

beforeAll(async () => {
  const postgres = sharedPostgres();
  await createRole(postgres, { name: 'hba_user', auth: 'scram', password: PASSWORD });
  await createRole(postgres, { name: 'hba_other', auth: 'trust' });
  await createRole(postgres, { name: 'hba_looker', auth: 'trust', options: 'SUPERUSER' });
  await createDatabase(postgres, 'hba_db');
});

/** A pooler with these rules; the files are written where it has its others. */
async function start(
  hba: string,
  options: TestPoolerOptions & { ident?: string } = {},
): Promise<LocalPooler> {
  const { ident = '', settings = {}, ...rest } = options;
  // The rules come first: without them it doesn't start.
  const pooler = await startPooler({
    databases: { postgres: '', hba_db: '' },
    userlist: { hba_user: PASSWORD, hba_other: '' },
    ...rest,
    settings,
  });
  await goByRules(pooler, hba, ident);
  return pooler;
}

async function login(pooler: LocalPooler, config: pg.ClientConfig = {}): Promise<string> {
  try {
    const client = await pooler.client({ user: 'hba_user', password: PASSWORD, ...config });
    const { rows } = await client.query<{ user: string }>('SELECT current_user AS user');
    await client.end();
    return rows[0]?.user ?? 'nobody';
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    return error.message;
  }
}

describe('rules', () => {
  test('for the console are those of its database, also for who asks for replication', async () => {
    await using pooler = await start(
      ['host replication hba_user all trust', 'host pgbouncer hba_user all reject'].join('\n'),
      { settings: { admin_users: 'hba_user' } },
    );
    for (const replication of ['true', 'database', 'false']) {
      const peer = await connectPeer(pooler.port);
      await peer.send(frontend.startup({ user: 'hba_user', database: 'pgbouncer', replication }));
      expect(errorFields((await peer.message()).body)['M']).toBe('login rejected');
      await peer.close();
    }
  });

  test('decide on the method by database, user and address, the first that fits', async () => {
    await using pooler = await start(
      [
        'host hba_db hba_other all reject',
        'host all hba_other 127.0.0.1/32 trust',
        'host postgres hba_user samehost scram-sha-256',
        'host hba_db hba_user 0.0.0.0/0 password',
      ].join('\n'),
    );
    expect(await login(pooler)).toBe('hba_user');
    expect(await login(pooler, { password: 'wrong' })).toBe('SASL authentication failed');
    expect(await login(pooler, { database: 'hba_db', password: 'wrong' })).toBe(
      'password authentication failed',
    );
    expect(await login(pooler, { database: 'hba_db' })).toBe('hba_user');
    expect(await login(pooler, { user: 'hba_other' })).toBe('hba_other');
    expect(await login(pooler, { user: 'hba_other', database: 'hba_db' })).toBe('login rejected');
    expect(await login(pooler, { user: 'hba_nobody' })).toBe('no authentication method is found');
    expect(await login(pooler, { host: pooler.socketDir })).toBe('no authentication method is found');
    expect(pooler.lines.join('\n')).toMatch(/hba:1 rejects it/);
  });

  test('are for the console, too, but not for its own user over the unix socket', async () => {
    await using pooler = await start('host pgbouncer hba_user all scram-sha-256', {
      settings: { admin_users: 'hba_user' },
    });
    expect(await login(pooler, { database: 'pgbouncer', password: 'wrong' })).toBe(
      'SASL authentication failed',
    );
    const admin = await pooler.admin({ user: 'hba_user', password: PASSWORD });
    expect((await admin.query('SHOW STATE')).rows.length).toBeGreaterThan(0);
    await admin.end();
    expect(await login(pooler)).toBe('no authentication method is found');
  });

  test('follow RELOAD, all or nothing', async () => {
    await using pooler = await start('host all all all reject');
    expect(await login(pooler)).toBe('login rejected');
    writeFileSync(join(pooler.folder, 'hba'), 'host all all all trust\nhost all all all tru\n');
    await expect(pooler.reload()).rejects.toThrow(/hba:2: method: expected trust, reject/);
    expect(await login(pooler)).toBe('login rejected');
    writeFileSync(join(pooler.folder, 'hba'), 'host all all all scram-sha-256\n');
    await pooler.reload();
    expect(await login(pooler)).toBe('hba_user');
  });

  test('that cannot be read keep the process from starting', async () => {
    const folder = await spawnPooler();
    const path = join(folder.folder, 'hba');
    writeFileSync(path, '# rules\nhost all all 10.0.0.0/40 reject\n');
    folder.configure({ settings: { auth_type: 'hba', auth_hba_file: path } });
    const bin = join(import.meta.dirname, '../../src/cli/bin.ts');
    const { status, stderr } = spawnSync(process.execPath, [bin, folder.iniPath], {
      encoding: 'utf8',
      env: { ...process.env, PGWEIR_ALLOW_ROOT: '1' },
    });
    await folder[Symbol.asyncDispose]();
    expect(status).toBe(1);
    expect(stderr).toContain(`ERROR ${path}:2: address: expected a right number of bits behind the slash`);
    expect(stderr).toContain('FATAL cannot load config file');
  });
});

describe('what has to be asked for', () => {
  const settings = { auth_user: 'hba_looker' };

  test('members of roles, however they have become that', async () => {
    await withClient(sharedPostgres(), async (client) => {
      await client.query('CREATE ROLE hba_team; CREATE ROLE hba_sub; CREATE ROLE hba_db2');
      await client.query('GRANT hba_team TO hba_sub; GRANT hba_sub TO hba_user');
    });
    await using pooler = await start(
      'host all hba_looker all trust\nhost all +hba_team all scram-sha-256\nhost samerole all all trust',
      { settings, userlist: { hba_user: PASSWORD, hba_other: '', hba_looker: '' } },
    );
    expect(await login(pooler)).toBe('hba_user');
    expect(await login(pooler, { user: 'hba_other' })).toBe('no authentication method is found');
    // A superuser is a member of what it was made one of, and of nothing else.
    await withClient(sharedPostgres(), (client) =>
      client.query('CREATE ROLE hba_db; GRANT hba_db TO hba_other'),
    );
    expect(await login(pooler, { user: 'hba_other', database: 'hba_db' })).toBe('hba_other');
    expect(await login(pooler, { user: sharedPostgres().user, database: 'hba_db' })).toBe(
      'no authentication method is found',
    );
  });

  test('where nobody can tell, a reject holds and nothing else does', async () => {
    await using pooler = await start(
      'host all hba_user all scram-sha-256\nhost all +hba_any all reject\nhost all all all trust',
      { settings: { auth_user: 'hba_no_such_role' } },
    );
    expect(await login(pooler)).toBe('hba_user');
    expect(await login(pooler, { user: 'hba_other' })).toBe('login rejected');
    pooler.configure({});
    writeFileSync(join(pooler.folder, 'hba'), 'host all +hba_any all trust\n');
    await pooler.reload();
    expect(await login(pooler, { user: 'hba_other' })).toBe('no authentication method is found');
  });

  test('names of hosts', async () => {
    await using pooler = await start(
      'host all hba_other no-such-host.invalid trust\nhost all hba_user localhost trust\n',
    );
    expect(await login(pooler, { user: 'hba_other' })).toBe('no authentication method is found');
    expect(['hba_user', 'no authentication method is found']).toContain(await login(pooler));
  });

  test('a query that gives another name does not lead around a rule', async () => {
    await using pooler = await start('host all hba_user all reject\nhost all all all scram-sha-256', {
      settings: {
        ...settings,
        auth_query: 'SELECT rolname, rolpassword FROM pg_authid WHERE rolname = lower($1)',
      },
      userlist: { hba_looker: '' },
    });
    expect(await login(pooler)).toBe('login rejected');
    expect(await login(pooler, { user: 'HBA_user' })).toBe('login rejected');
    expect(await login(pooler, { user: 'HBA_user', password: 'wrong' })).toBe('SASL authentication failed');
  });
});

describe.skipIf(openNative().missing.has('credentials'))('peer', () => {
  const overSocket = (pooler: LocalPooler, user: string) =>
    login(pooler, { host: pooler.socketDir, port: pooler.port, user });

  test('lets the system’s user in under its own name, or a mapped one', async () => {
    await using pooler = await start('local hba_db all peer\nlocal all all peer map=m', {
      ident: `m ${OWN} hba_other\nm nobody-at-all hba_user\n`,
    });
    expect(await overSocket(pooler, 'hba_other')).toBe('hba_other');
    expect(await overSocket(pooler, 'hba_user')).toBe('unix socket login rejected');
    expect(await login(pooler, { host: pooler.socketDir, user: 'hba_other', database: 'hba_db' })).toBe(
      'unix socket login rejected',
    );
    writeFileSync(join(pooler.folder, 'ident'), `m /^(${OWN.slice(0, 1)}.*)$ hba_\\1\nm ${OWN} all\n`);
    await pooler.reload();
    expect(await overSocket(pooler, 'hba_other')).toBe('hba_other');
    // Whoever the map lets in has to be a user.
    expect(await overSocket(pooler, 'hba_nobody')).toBe('unix socket login rejected');
  });

  test('without native calls nobody is believed', async () => {
    const native = openNative(() => {
      throw new Error('not here');
    });
    await using pooler = await start('local all all peer map=m', { ident: 'm /.* all\n', native });
    expect(await overSocket(pooler, 'hba_other')).toBe('unix socket login rejected');
  });

  test('is nothing over TCP', async () => {
    await using pooler = await start('host all all all peer map=m', { ident: 'm /.* all\n' });
    expect(await login(pooler, { user: 'hba_other' })).toBe('unix socket login rejected');
  });
});

test('cert without TLS lets nobody in', async () => {
  await using pooler = await start('host all all all cert map=m', { ident: 'm /.* all\n' });
  expect(await login(pooler, { user: 'hba_other' })).toBe('certificate authentication failed');
});
