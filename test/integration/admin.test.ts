import { writeFileSync } from 'node:fs';
import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import { connectConsole, watch } from '../support/console.ts';
import { errorFields, frontend } from '../support/peer-messages.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { endOf, fatal, refusalOf } from '../support/refusals.ts';
import { createDatabase } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';
import { ConsoleStage, hasBackend, pidOf } from '../support/console-stage.ts';

const stage = new ConsoleStage();

test.each([
  ['PAUSE nowhere', 'no such database: nowhere'],
  ['PAUSE pgbouncer', 'cannot pause admin db: pgbouncer'],
  ['RESUME', 'pooler is not paused/suspended'],
  ['RESUME one', 'database one is not paused'],
  ['RESUME nowhere', 'no such database: nowhere'],
  ['RESUME pgbouncer', 'database pgbouncer is not paused'],
  ['DISABLE', 'a database is required'],
  ['DISABLE nowhere', 'no such database: nowhere'],
  ['DISABLE pgbouncer', 'cannot disable admin db: pgbouncer'],
  ['ENABLE', 'a database is required'],
  ['ENABLE pgbouncer', 'cannot enable admin db: pgbouncer'],
  ['RECONNECT nowhere', 'no such database: nowhere'],
  ['RECONNECT pgbouncer', 'cannot reconnect admin db: pgbouncer'],
  ['KILL nowhere', 'no such database: nowhere'],
  ['KILL pgbouncer', 'cannot kill admin db: pgbouncer'],
  ['KILL_CLIENT 4294967296', 'client not found'],
  ['KILL_CLIENT first', 'invalid client pointer supplied'],
  ['KILL_CLIENT', 'invalid client pointer supplied'],
  ['WAIT_CLOSE nowhere', 'no such database: nowhere'],
  ['WAIT_CLOSE pgbouncer', 'cannot wait in admin db: pgbouncer'],
  ["SET nothing = '1'", 'SET failed'],
  ["SET max_client_conn = 'many'", 'SET failed'],
  ["SET listen_port = '6543'", 'SET failed'],
  ['RELOAD one', "invalid command 'RELOAD one', use SHOW HELP;"],
  ['SHOW nothing', "invalid command 'SHOW nothing', use SHOW HELP;"],
  ['VACUUM', "invalid command 'VACUUM', use SHOW HELP;"],
  ['SHUTDOWN SOMEHOW', "invalid command 'SHUTDOWN SOMEHOW', use SHOW HELP;"],
])('%s is an error: %s', async (command, text) => {
  expect(await stage.run(command)).toBe(`ERROR 08P01 ${text}`);
});

describe('RELOAD', () => {
  test('applies the file and says so', async () => {
    stage.pooler.configure({ settings: { default_pool_size: 3 } });
    expect(await stage.run('RELOAD')).toBe('RELOAD');
    expect((await stage.show('CONFIG')).find(({ key }) => key === 'default_pool_size')?.['value']).toBe('3');
    expect(stage.pooler.lines).toContain('LOG RELOAD command issued');
  });

  test('of a wrong file applies nothing of it, and the log has file, line, key and what was expected', async () => {
    const before = [await stage.show('CONFIG'), await stage.show('DATABASES')];
    const text =
      '[databases]\nthree =\n[pgbouncer]\ndefault_pool_size = 7\nauth_type = trust\nmax_client_conn = x\n';
    writeFileSync(stage.pooler.iniPath, text);
    const peer = await connectConsole(stage.pooler.port, sharedPostgres().user);
    await peer.send(frontend.query('RELOAD'));
    const [error] = await peer.messagesTo('Z');
    expect(errorFields(error?.body ?? Buffer.alloc(0))).toMatchObject({
      S: 'ERROR',
      C: 'F0000',
      M: 'RELOAD failed, see logs for additional details',
    });
    await peer.close();
    expect([await stage.show('CONFIG'), await stage.show('DATABASES')]).toEqual(before);
    expect(stage.pooler.lines).toContain(
      `ERROR ${stage.pooler.iniPath}:6: max_client_conn: expected an integer`,
    );
    const client = await stage.pooler.client({ database: 'one' });
    await client.end();
  });
});

describe('SET', () => {
  test('takes effect at once, echoes, and lasts until the next RELOAD', async () => {
    expect(await stage.run("SET max_client_conn = '1'")).toBe('SET max_client_conn=1');
    const client = await stage.pooler.client({ database: 'one' });
    const tooMany = fatal('no more connections allowed (max_client_conn)');
    expect(await refusalOf(stage.pooler.client({ database: 'one' }))).toEqual(tooMany);
    expect(await stage.run('RELOAD')).toBe('RELOAD');
    const second = await stage.pooler.client({ database: 'one' });
    await Promise.all([client.end(), second.end()]);
  });

  test('of server_check_query takes effect although the file says <empty>', async () => {
    await stage.run("SET server_check_delay = '0'");
    await stage.run(`SET server_check_query = 'SELECT pg_notify(''ad_check'', '''')'`);
    const listener = await stage.pooler.client({ database: 'session' });
    await listener.query('LISTEN ad_check');
    const notified = watch(new Promise((resolve) => listener.once('notification', resolve)));
    const client = await stage.pooler.client({ database: 'one' });
    await client.query('SELECT 1');
    await client.query('SELECT 2');
    await waitFor(() => notified.settled);
    await Promise.all([client.end(), listener.end()]);
  });

  test('of what drivers set is ignored with a notice', async () => {
    const notices: (string | undefined)[] = [];
    stage.admin.on('notice', (notice) => notices.push(notice.message));
    expect((await stage.admin.query("SET client_encoding = 'UTF8'")).command).toBe('SET');
    expect(notices).toEqual(['SET ignored']);
  });
});

describe('RECONNECT and WAIT_CLOSE', () => {
  test('RECONNECT replaces idle servers at once and busy ones when they are released', async () => {
    const [busy, idle] = [
      await stage.pooler.client({ database: 'one' }),
      await stage.pooler.client({ database: 'one' }),
    ];
    await busy.query('BEGIN');
    const busyPid = await pidOf(busy);
    const other = await pidOf(idle);
    expect(other).not.toBe(busyPid);
    expect(await stage.run('RECONNECT one')).toBe('RECONNECT');
    await waitFor(async () => !(await hasBackend(other)));
    expect(await pidOf(busy)).toBe(busyPid);
    expect(
      (await stage.show('SERVERS')).find(({ remote_pid }) => remote_pid === busyPid)?.['close_needed'],
    ).toBe(1);
    await busy.query('COMMIT');
    await waitFor(async () => !(await hasBackend(busyPid)));
    expect([busyPid, other]).not.toContain(await pidOf(busy));
    await Promise.all([busy.end(), idle.end()]);
  });

  test('RECONNECT of one database leaves the others alone', async () => {
    const [one, two] = [
      await stage.pooler.client({ database: 'one' }),
      await stage.pooler.client({ database: 'two' }),
    ];
    const pids = [await pidOf(one), await pidOf(two)];
    await stage.run('RECONNECT two');
    expect(await pidOf(one)).toBe(pids[0]);
    expect(await pidOf(two)).not.toBe(pids[1]);
    await Promise.all([one.end(), two.end()]);
  });

  test('WAIT_CLOSE waits for the sessions whose servers are obsolete, and only for those', async () => {
    expect(await stage.run('WAIT_CLOSE')).toBe('WAIT_CLOSE');
    const client = await stage.pooler.client({ database: 'session' });
    await client.query('SELECT 1');
    expect(await stage.run('WAIT_CLOSE session')).toBe('WAIT_CLOSE');
    await stage.run('RECONNECT');
    const all = watch(stage.run('WAIT_CLOSE'));
    const own = watch(stage.run('WAIT_CLOSE session'));
    expect(await stage.run('WAIT_CLOSE one')).toBe('WAIT_CLOSE');
    await client.query('SELECT 1');
    expect([all.settled, own.settled]).toEqual([false, false]);
    await client.end();
    expect(await all.promise).toBe('WAIT_CLOSE');
    expect(await own.promise).toBe('WAIT_CLOSE');
    // A later command that waits is answered in its own name.
    expect(await stage.run('PAUSE session')).toBe('PAUSE');
  });
});

describe('KILL', () => {
  test('KILL of a database closes its clients and servers, forgets its pool, and holds it until RESUME', async () => {
    const [idle, busy, other] = [
      await stage.pooler.client({ database: 'one' }),
      await stage.pooler.client({ database: 'one' }),
      await stage.pooler.client({ database: 'two' }),
    ];
    await Promise.all([idle.query('BEGIN'), busy.query('BEGIN')]);
    // Leaves a server connection at rest.
    await idle.query('COMMIT');
    const pid = await pidOf(busy);
    const ends = [endOf(idle), endOf(busy)];
    expect(await stage.run('KILL one')).toBe('KILL');
    expect(await Promise.all(ends)).toEqual(Array(2).fill(fatal('database removed')));
    await waitFor(async () => (await stage.poolOf('one')) === undefined);
    expect(await hasBackend(pid)).toBe(false);
    expect(stage.pooler.lines.filter((line) => line.includes('pause mode'))).toEqual([]);
    expect((await stage.show('STATS')).map(({ database }) => database)).toEqual(['pgbouncer', 'two']);
    await other.query('SELECT 1');
    const held = watch(stage.pooler.client({ database: 'one' }));
    await waitFor(async () => (await stage.poolOf('one'))?.['cl_waiting'] === 1);
    expect(await stage.run('RESUME')).toBe('ERROR 08P01 pooler is not paused/suspended');
    expect(await stage.run('RESUME one')).toBe('RESUME');
    await Promise.all([(await held.promise).end(), other.end()]);
  });

  test('KILL alone closes everyone but the consoles', async () => {
    const clients = [
      await stage.pooler.client({ database: 'one' }),
      await stage.pooler.client({ database: 'session' }),
    ];
    for (const client of clients) await client.query('SELECT 1');
    const ends = clients.map(endOf);
    expect(await stage.run('KILL')).toBe('KILL');
    expect(await Promise.all(ends)).toEqual(Array(2).fill(fatal('database removed')));
    await waitFor(async () => (await stage.show('POOLS')).length === 1);
    expect((await stage.show('SERVERS')).length).toBe(0);
    // Each database is paused by itself, so each has to be resumed by itself.
    for (const database of ['one', 'two', 'session'])
      expect(await stage.run(`RESUME ${database}`)).toBe('RESUME');
    await (await stage.pooler.client({ database: 'one' })).end();
  });

  test('KILL is refused while everything is paused', async () => {
    await stage.run('PAUSE');
    expect(await stage.run('KILL')).toBe('ERROR 08P01 already suspended/paused');
    expect(await stage.run('KILL one')).toBe('ERROR 08P01 already suspended/paused');
  });
});

describe('KILL_CLIENT', () => {
  async function idOf(name: string, state: string): Promise<number | undefined> {
    const rows = await stage.show('CLIENTS');
    const found = rows.find((row) => row['application_name'] === name && row['state'] === state);
    return found === undefined ? undefined : Number(found['id']);
  }

  test.each<[string, string, (victim: pg.Client) => Promise<{ ended: Promise<unknown> }>]>([
    ['idle', 'idle', async (victim) => ({ ended: endOf(victim) })],
    [
      'in a transaction',
      'active',
      async (victim) => {
        await victim.query('BEGIN');
        return { ended: endOf(victim) };
      },
    ],
    ['in a query', 'active', async (victim) => ({ ended: refusalOf(victim.query('SELECT pg_sleep(60)')) })],
    [
      'waiting',
      'waiting',
      async (victim) => {
        await stage.run('PAUSE two');
        return { ended: refusalOf(victim.query('SELECT 1')) };
      },
    ],
  ])('ends one client that is %s, and no other', async (how, state, begin) => {
    const name = `victim ${how}`;
    const victim = await stage.pooler.client({ database: 'two', application_name: name });
    const bystander = await stage.pooler.client({ database: 'one', application_name: 'bystander' });
    await bystander.query('BEGIN');
    const { ended } = await begin(victim);
    const id = await waitFor(() => idOf(name, state));
    expect(await stage.run(`KILL_CLIENT ${id}`)).toBe('KILL_CLIENT');
    expect(await ended).toEqual(fatal('admin forced disconnect'));
    expect((await bystander.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await bystander.query('ROLLBACK');
    await waitFor(async () => (await stage.show('CLIENTS')).every((row) => row['id'] !== id));
    expect(await stage.run(`KILL_CLIENT ${id}`)).toBe('ERROR 08P01 client not found');
    await bystander.end();
  });
});

test('DISABLE keeps new clients out after they proved who they are, those inside stay, ENABLE ends it', async () => {
  const inside = await stage.pooler.client({ database: 'one' });
  expect(await stage.run('DISABLE one')).toBe('DISABLE');
  expect((await stage.show('DATABASES')).find(({ name }) => name === 'one')?.['disabled']).toBe(1);
  expect(await refusalOf(stage.pooler.client({ database: 'one' }))).toEqual(
    fatal('database "one" is disabled'),
  );
  expect(await refusalOf(stage.pooler.client({ database: 'one', user: 'ad_nobody' }))).toEqual(
    fatal('"trust" authentication failed'),
  );
  await inside.query('SELECT 1');
  expect(await stage.run('ENABLE one')).toBe('ENABLE');
  await (await stage.pooler.client({ database: 'one' })).end();
  await inside.end();
});

test('commands reach databases that * can make', async () => {
  await createDatabase(sharedPostgres(), 'ad_auto');
  await stage.pooler.reload({ databases: { '*': '' } });
  for (const command of ['RESUME', 'ENABLE']) {
    expect(await stage.run(`${command} ad_auto`)).toContain('no such database: ad_auto');
  }
  expect(await stage.run('PAUSE ad_auto')).toBe('PAUSE');
  expect(await stage.run('RESUME ad_auto')).toBe('RESUME');
  expect(await stage.run('DISABLE ad_auto')).toBe('DISABLE');
  expect(await refusalOf(stage.pooler.client({ database: 'ad_auto' }))).toEqual(
    fatal('database "ad_auto" is disabled'),
  );
});

test('a command is logged with what it is about, a SET without its value', async () => {
  await stage.run("SET server_reset_query = 'SELECT 1'");
  await stage.run('RECONNECT one');
  expect(stage.pooler.lines).toContain("LOG RECONNECT 'one' command issued");
  expect(stage.pooler.lines).toContain('LOG SET server_reset_query command issued');
});

test('an error on the console is logged as one that a client was told, if log_pooler_errors is on', async () => {
  await stage.run('RESUME one');
  await stage.run('SHOW no_such_thing');
  const { user } = sharedPostgres();
  const prefix = `^WARNING C-0x[0-9a-f]+: pgbouncer/${user}@127\\.0\\.0\\.1:\\d+ pooler error: `;
  for (const text of [
    'database one is not paused$',
    "invalid command 'SHOW no_such_thing', use SHOW HELP;$",
  ]) {
    await waitFor(() => stage.pooler.lines.some((line) => new RegExp(prefix + text).test(line)), {
      what: text,
    });
  }
  const before = stage.pooler.lines.length;
  await stage.pooler.reload({ settings: { log_pooler_errors: 0 } });
  await stage.run('RESUME one');
  // What a thread logs is there when what is asked of it later has been answered.
  await stage.run('SHOW LISTS');
  expect(stage.pooler.lines.slice(before).join()).not.toContain('pooler error');
});

test('SHOW CLIENTS shows a console with its name, and when it has asked last', async () => {
  const console = await stage.pooler.admin({ application_name: 'watcher' });
  const seen = async () => (await stage.show('CLIENTS')).find((row) => row['application_name'] === 'watcher');
  expect(await seen()).toMatchObject({ database: 'pgbouncer', state: 'active' });
  const isLater = async () => {
    await console.query('SHOW VERSION');
    const row = await seen();
    return String(row?.['request_time']) > String(row?.['connect_time']);
  };
  await waitFor(isLater);
  await console.end();
});
