import { chmodSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { isPublic } from '../../src/check/networks.ts';
import type { ServerLimits } from '../../src/check/capacity-rules.ts';
import { exitStatus } from '../../src/check/finding.ts';
import { reportJson, reportText } from '../../src/check/report.ts';
import { SetUp, shown } from './kit.ts';

const USERS = { 'users.txt': '"app" "secret-of-app"\n' };
const SOUND = `[databases]
app = host=10.0.0.1
[pgbouncer]
listen_addr = 127.0.0.1
auth_type = scram-sha-256
auth_file = {dir}/users.txt
pool_mode = transaction
`;

async function found(ini: string, files: Readonly<Record<string, string>> = USERS): Promise<string[]> {
  using setUp = new SetUp(ini, files);
  return shown(await setUp.check());
}

/** The sound set-up with more lines in [pgbouncer]. */
const withLines = (...lines: string[]) => `${SOUND}${lines.join('\n')}\n`;

test('a sound set-up is sound', async () => {
  using setUp = new SetUp(SOUND, USERS);
  const report = await setUp.check();
  expect(shown(report)).toEqual([]);
  expect(exitStatus(report.findings)).toBe(0);
  expect(reportText(report)).toContain('pgbouncer.ini: 0 errors, 0 warnings');
});

describe('errors', () => {
  test('are told all at once, with their places, and the rest is examined all the same', async () => {
    using setUp = new SetUp(
      withLines(
        'listen_port = many',
        'no_such = 1',
        'auth_type = trust',
        'listen_addr = *',
        '[users]',
        'u = nope=1',
      ),
      USERS,
    );
    const report = await setUp.check();
    expect(shown(report).filter((each) => each.startsWith('error'))).toEqual([
      'error configuration listen_port',
      'error configuration no_such',
      'error configuration u',
      'error trust auth_type',
    ]);
    expect(report.findings[0]?.at).toEqual({ file: setUp.path, line: 8 });
    expect(exitStatus(report.findings)).toBe(2);
  });

  test('of included files stand where they are', async () => {
    using setUp = new SetUp(withLines('%include {dir}/more.ini'), {
      ...USERS,
      'more.ini': '\npool_mode = none\n',
    });
    const { findings } = await setUp.check();
    expect(findings.find(({ level }) => level === 'error')?.at).toEqual({
      file: `${setUp.dir}/more.ini`,
      line: 2,
    });
  });

  test('in what * says are told as by a start', async () => {
    expect(await found(SOUND.replace('[pgb', '* = hst=10.0.0.1\n[pgb'))).toEqual(['warning configuration ']);
  });

  test('that leave nothing to examine end it', async () => {
    using setUp = new SetUp('', USERS);
    expect(shown(await setUp.check())).toEqual(['error configuration ']);
    using missing = new SetUp(withLines('%include {dir}/none.ini'), USERS);
    expect(exitStatus((await missing.check()).findings)).toBe(2);
  });

  test('are bounded in number', async () => {
    using setUp = new SetUp(`[pgbouncer]\n${'what = 1\n'.repeat(500)}`, USERS);
    expect((await setUp.check()).findings.length).toBeLessThanOrEqual(60);
  });
});

describe('how many server connections there can be', () => {
  const limits = (maxConnections: number, databases: [string, number][] = []): ServerLimits => ({
    maxConnections,
    reserved: 3,
    roleLimits: new Map(),
    databaseLimits: new Map(databases),
  });

  test('fifty instances of a pool of 20 do not fit into max_connections=100', async () => {
    using setUp = new SetUp(SOUND, USERS);
    const assumed = await setUp.check({ instances: 50 });
    expect(shown(assumed)).toEqual(['warning capacity 10.0.0.1:5432']);
    const asked = await setUp.check({ instances: 50, ask: async () => limits(100) });
    expect(shown(asked)).toEqual(['error capacity 10.0.0.1:5432']);
    expect(asked.findings.find(({ level }) => level === 'error')?.message).toBe(
      '10.0.0.1:5432: 50 instances can come to 1000 server connections (20 each) (app 20); the server has ' +
        'max_connections=100 less 3 reserved; at most 1 per instance fit: lower the pool sizes, or set max_db_connections',
    );
    expect(shown(await setUp.check({ instances: 4, ask: async () => limits(100) }))).toEqual([]);
  });

  test.each([
    ['each user has a pool', SOUND, { 'users.txt': '"a" "x"\n"b" "x"\n"c" "x"\n' }, 60],
    ['with its reserve', withLines('reserve_pool_size = 5'), USERS, 25],
    [
      'which is never used without a timeout',
      withLines('reserve_pool_size = 5', 'reserve_pool_timeout = 0'),
      USERS,
      20,
    ],
    [
      'a forced user is one',
      SOUND.replace('10.0.0.1', '10.0.0.1 user=one'),
      { 'users.txt': '"a" "x"\n"b" "x"\n' },
      20,
    ],
    ['max_db_connections bounds it', withLines('max_db_connections = 7'), USERS, 7],
    ['max_user_connections bounds it', withLines('max_user_connections = 6'), USERS, 6],
    ['of an entry by itself', SOUND.replace('10.0.0.1', '10.0.0.1 pool_size=3'), USERS, 3],
    ['of a user by itself', withLines('[users]', 'app = pool_size=4'), USERS, 4],
    ['of several entries together', SOUND.replace('[pgb', 'b = host=10.0.0.1 pool_size=9\n[pgb'), USERS, 29],
    [
      'bounded by user over all of them',
      withLines('max_user_connections = 21').replace('[pgb', 'b = host=10.0.0.1\n[pgb'),
      USERS,
      21,
    ],
    [
      'a name in [users] alone cannot log in by a password',
      withLines('[users]', 'forced = pool_size=30').replace('[pgb', 'b = host=10.0.0.1 user=forced\n[pgb'),
      USERS,
      50,
    ],
    [
      'but where no password is asked for',
      withLines('[users]', 'b = pool_size=30').replace('scram-sha-256', 'trust'),
      USERS,
      50,
    ],
    ['of one name that * is for', SOUND.replace('app =', '* ='), USERS, 20],
    [
      'of one such name beside entries',
      SOUND.replace('[pgb', '* = host=10.0.0.1 pool_size=7\n[pgb'),
      USERS,
      27,
    ],
    ['without any user, one that has to be', SOUND, { 'users.txt': '' }, 20],
    ['without a bound', withLines('default_pool_size = 0'), USERS, Number.POSITIVE_INFINITY],
  ] as const)('%s', async (_name, ini, files, connections) => {
    using setUp = new SetUp(ini, files);
    expect((await setUp.check()).capacities.map((each) => each.connections)).toEqual([connections]);
  });

  test('each host of a list may get them all, and other servers count by themselves', async () => {
    using setUp = new SetUp(
      SOUND.replace('10.0.0.1', '10.0.0.1,10.0.0.2').replace('[pgb', 'b = host=10.0.0.9\nc =\n[pgb'),
      USERS,
    );
    const { capacities } = await setUp.check();
    expect(capacities.map(({ server, connections }) => `${server} ${connections}`)).toEqual([
      '10.0.0.1:5432 20',
      '10.0.0.2:5432 20',
      '10.0.0.9:5432 20',
      '/tmp port 5432 20',
    ]);
  });

  test('the server of this machine is one, by TCP and by its unix socket', async () => {
    using setUp = new SetUp(
      SOUND.replace('10.0.0.1', '127.0.0.1').replace(
        '[pgb',
        'b = host=localhost,::1\nc = host=/run/pg\nd =\ne = host=127.0.0.1 port=5433\n[pgb',
      ),
      USERS,
    );
    const { capacities } = await setUp.check();
    expect(capacities.map(({ server, connections }) => `${server} ${connections}`)).toEqual([
      '127.0.0.1:5432 80',
      '127.0.0.1:5433 20',
    ]);
  });

  test('a database’s own limit counts, where the server was asked', async () => {
    using setUp = new SetUp(SOUND, USERS);
    const ask = async () => limits(100, [['app', 10]]);
    expect(shown(await setUp.check({ ask }))).toEqual(['error capacity [databases] app']);
  });

  test('entries for the same database share its limit', async () => {
    const two = SOUND.replace('[pgb', 'b = host=10.0.0.1 dbname=app\n[pgb');
    using setUp = new SetUp(two, USERS);
    const report = await setUp.check({ ask: async () => limits(100, [['app', 30]]) });
    expect(shown(report)).toEqual(['error capacity [databases] app']);
    expect(report.findings.find(({ level }) => level === 'error')?.message).toBe(
      'app, b together can come to 40 server connections, its CONNECTION LIMIT on 10.0.0.1:5432 is 30',
    );
    expect(shown(await setUp.check({ ask: async () => limits(100, [['app', 40]]) }))).toEqual([]);
  });

  test('what users may have bounds a database, too', async () => {
    using setUp = new SetUp(withLines('[users]', 'app = max_user_connections=8'), USERS);
    const ask = async () => limits(100, [['app', 10]]);
    expect(shown(await setUp.check({ ask }))).not.toContain('error capacity [databases] app');
  });

  test('fifty instances do not fit either where all databases are those of *', async () => {
    using setUp = new SetUp(SOUND.replace('app =', '* ='), USERS);
    expect(shown(await setUp.check({ instances: 50 }))).toEqual(['warning capacity 10.0.0.1:5432']);
    const asked = await setUp.check({ instances: 50, ask: async () => limits(100) });
    expect(shown(asked)).toEqual(['error capacity 10.0.0.1:5432']);
  });

  test('a server that cannot be asked is an error', async () => {
    using setUp = new SetUp(SOUND, USERS);
    const ask = () => Promise.reject(new Error('connection refused'));
    expect(shown(await setUp.check({ ask }))).toEqual(['error connect 10.0.0.1:5432']);
  });
});

describe('who gets in', () => {
  test.each(['trust', 'any'])('%s is an error where others can connect', async (method) => {
    const ini = SOUND.replace('scram-sha-256', method).replace('10.0.0.1', '10.0.0.1 user=app');
    expect(await found(ini)).toEqual([]);
    expect(await found(ini.replace('127.0.0.1', '127.0.0.1, 0.0.0.0'))).toEqual(['error trust auth_type']);
  });

  test('passwords in clear text are a warning where others can connect', async () => {
    const ini = SOUND.replace('scram-sha-256', 'plain');
    expect(await found(ini)).toEqual([]);
    expect(await found(ini.replace('127.0.0.1', '::'))).toEqual(['warning cleartext auth_type']);
  });

  test('an administrator whom nobody knows is a warning', async () => {
    expect(await found(withLines('admin_users = app, boss'))).toEqual(['warning unknown-user admin_users']);
  });

  test.each([
    ['127.0.0.1', false],
    ['127.8.8.8', false],
    ['::1', false],
    ['localhost', false],
    ['*', true],
    ['::', true],
    ['10.0.0.1', true],
    ['db.example.org', true],
  ])('%s is public: %s', (address, expected) => {
    expect(isPublic(address)).toBe(expected);
  });
});

describe('files', () => {
  test('with secrets that everybody can read are a warning, and that everybody can write an error', async () => {
    using setUp = new SetUp(SOUND.replace('10.0.0.1', '10.0.0.1 password=hidden'), USERS);
    expect(shown(await setUp.check())).toEqual([]);
    chmodSync(`${setUp.dir}/users.txt`, 0o644);
    chmodSync(setUp.path, 0o604);
    expect(shown(await setUp.check())).toEqual([
      `warning secrets ${setUp.path}`,
      'warning secrets auth_file',
    ]);
    chmodSync(`${setUp.dir}/users.txt`, 0o662);
    expect(shown(await setUp.check())).toContain(`error writable ${setUp.dir}/users.txt`);
  });

  test('are those that passwords stand in, and no others beside them', async () => {
    const lines = withLines('auth_type = hba', 'auth_hba_file = {dir}/hba.conf', '%include {dir}/more.ini');
    using setUp = new SetUp(lines, {
      ...USERS,
      'more.ini': '[databases]\n* = host=10.0.0.1 password=hidden\n',
      'hba.conf': 'include ldap.conf\nlocal all all peer\n',
      'ldap.conf': 'local all all ldap ldapserver=localhost ldapbasedn=x ldapbindpasswd=hidden\n',
    });
    for (const name of ['pgbouncer.ini', 'more.ini', 'hba.conf', 'ldap.conf'])
      chmodSync(`${setUp.dir}/${name}`, 0o644);
    const found = shown(await setUp.check()).filter((each) => each.includes('secrets'));
    expect(found).toEqual([
      `warning secrets ${setUp.dir}/more.ini`,
      `warning secrets ${setUp.dir}/ldap.conf`,
    ]);
  });

  test('without secrets may be read by everybody', async () => {
    using setUp = new SetUp(SOUND, USERS);
    chmodSync(setUp.path, 0o644);
    expect(shown(await setUp.check())).toEqual([]);
  });

  test('that are not there are errors', async () => {
    expect(await found(SOUND, {})).toContain('error missing-file auth_file');
  });
});

describe('settings that contradict each other', () => {
  test.each([
    ['query_wait_timeout', ['query_timeout = 60', 'query_wait_timeout = 120']],
    ['query_wait_notify', ['query_wait_notify = 20', 'query_wait_timeout = 10']],
    ['query_timeout', ['query_timeout = 60', 'transaction_timeout = 30', 'query_wait_timeout = 9']],
    ['idle_transaction_timeout', ['idle_transaction_timeout = 60', 'transaction_timeout = 30']],
    ['server_idle_timeout', ['server_lifetime = 600', 'server_idle_timeout = 600']],
    ['server_connect_timeout', ['client_login_timeout = 10']],
    ['reserve_pool_size', ['reserve_pool_size = 5', 'reserve_pool_timeout = 0']],
    ['reserve_pool_timeout', ['reserve_pool_size = 5', 'query_wait_timeout = 5', 'query_wait_notify = 0']],
    ['[databases] app', ['min_pool_size = 30']],
    ['[databases] app', ['max_db_connections = 5']],
    ['[databases] app', ['max_user_connections = 5']],
    ['server_check_delay', ['server_check_query =', 'server_check_delay = 5']],
  ])('%s: %j', async (subject, lines) => {
    expect(await found(withLines(...lines))).toEqual([`warning contradiction ${subject}`]);
  });

  test.each([
    ['server_idle_timeout', ['server_lifetime = 600']],
    ['query_wait_timeout', ['query_timeout = 60']],
    ['query_wait_notify', ['query_wait_timeout = 3']],
  ])('%s left as it is, with %j, is a note', async (subject, lines) => {
    using setUp = new SetUp(withLines(...lines), USERS);
    const report = await setUp.check();
    expect(exitStatus(report.findings)).toBe(0);
    expect(report.findings.filter(({ code }) => code === 'contradiction')).toMatchObject([
      { level: 'note', subject },
    ]);
  });

  test.each([
    ['unbounded [databases] app', ['default_pool_size = 0']],
    ['reset-query server_reset_query', ['server_reset_query = DISCARD ALL']],
    ['reset-query server_reset_query_always', ['server_reset_query_always = 1']],
    ['prepared-statements max_prepared_statements', ['max_prepared_statements = 0']],
  ])('%s', async (expected, lines) => {
    const all = await found(withLines(...lines));
    expect(all).toContain(`warning ${expected}`);
  });

  test('a reset query is right in session mode', async () => {
    const ini = withLines('server_reset_query = DISCARD ALL').replace('transaction', 'session');
    expect(await found(ini)).toEqual([]);
  });
});

describe('the report', () => {
  test('compares each setting with PgBouncer, once', async () => {
    using setUp = new SetUp(
      withLines('job_name = x', 'max_client_conn = 10', 'max_client_conn = 200', ';pgweir log_format = json'),
      USERS,
    );
    const report = await setUp.check();
    const verdicts = new Map(report.verdicts.map(({ setting, verdict }) => [setting, verdict]));
    expect(verdicts.get('job_name')).toBe('not supported');
    expect(verdicts.get('max_client_conn')).toBe('different');
    expect(verdicts.get('listen_addr')).toBe('same');
    expect(verdicts.get('log_format')).toBe('own');
    expect(report.verdicts.filter(({ setting }) => setting === 'max_client_conn')).toHaveLength(1);
    const text = reportText(report);
    expect(text).toMatch(/^ {2}same {11}listen_addr, auth_type/m);
    expect(text).toMatch(/^ {2}not supported {2}job_name: /m);
  });

  test('is one JSON object for programs, and tells no secret', async () => {
    using setUp = new SetUp(
      withLines('default_pool_size = 0').replace('10.0.0.1', "10.0.0.1 password='hidden one' nope=hidden"),
      USERS,
    );
    const report = await setUp.check();
    const json = JSON.parse(reportJson(report));
    expect(json).toMatchObject({ status: 2, instances: 1, file: setUp.path });
    expect(json.findings[0]).toEqual({
      level: 'error',
      code: 'configuration',
      subject: 'app',
      message: expect.stringContaining('expected'),
      file: setUp.path,
      line: 2,
    });
    for (const all of [reportJson(report), reportText(report)]) {
      expect(all).not.toContain('hidden');
      expect(all).not.toContain('secret-of-app');
    }
  });

  test('tells of servers without a bound', async () => {
    using setUp = new SetUp(withLines('default_pool_size = 0'), USERS);
    const json = JSON.parse(reportJson(await setUp.check()));
    expect(json.servers).toEqual([
      {
        server: '10.0.0.1:5432',
        connections: null,
        entries: [{ name: 'app', dbname: 'app', users: ['app'], connections: null }],
        users: { app: null },
      },
    ]);
  });
});
