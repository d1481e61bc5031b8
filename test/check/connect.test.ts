import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { askLimits } from '../../src/check/ask.ts';
import { askServer } from '../../src/server/question.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { ScriptedServer } from '../support/scripted-peer.ts';
import { SetUp, shown } from './kit.ts';

const bin = resolve(import.meta.dirname, '../../src/cli/bin.ts');

let md5 = '';
let scram = '';

beforeAll(async () => {
  const postgres = sharedPostgres();
  await createRole(postgres, {
    name: 'check_plain',
    auth: 'scram',
    password: 'known',
    options: 'CONNECTION LIMIT 30',
  });
  md5 = (await createRole(postgres, { name: 'check_md5', auth: 'md5', password: 'known' })) ?? '';
  scram = (await createRole(postgres, { name: 'check_scram', auth: 'scram', password: 'known' })) ?? '';
  await createRole(postgres, { name: 'check_trust', auth: 'trust' });
  await createDatabase(postgres, 'checked');
  await withClient(postgres, (client) => client.query('ALTER DATABASE checked CONNECTION LIMIT 60'));
});
afterAll(() =>
  withClient(sharedPostgres(), (client) => client.query('ALTER DATABASE checked CONNECTION LIMIT -1')),
);

const ini = (lines = '') => `[databases]
app = host=127.0.0.1 port=${sharedPostgres().port} dbname=checked
[pgbouncer]
listen_addr = 127.0.0.1
auth_type = md5
auth_file = {dir}/users.txt
pool_mode = transaction
${lines}
`;

async function found(users: string, instances = 1, lines = ''): Promise<string[]> {
  using setUp = new SetUp(ini(lines), { 'users.txt': users });
  return shown(await setUp.check({ instances, ask: askLimits }));
}

const SERVER = () => `127.0.0.1:${sharedPostgres().port}`;

describe('a server that is asked', () => {
  test.each([
    ['plain', () => '"check_plain" "known"'],
    ['MD5', () => `"check_md5" "${md5}"`],
    ['no', () => '"check_trust" ""'],
    [
      'several, of which one is right,',
      () => `"check_md5" "wrong"\n"check_scram" "${scram}"\n"check_plain" "known"`,
    ],
  ])('answers a user with %s secret', async (_name, users) => {
    expect(await found(users())).toEqual([]);
  });

  test('says what it has, and what its roles and databases may have', async () => {
    const max = Number(
      (await withClient(sharedPostgres(), (client) => client.query('SHOW max_connections'))).rows[0]
        .max_connections,
    );
    expect(await found('"check_plain" "known"', 2)).toEqual(['error capacity user check_plain']);
    expect(await found('"check_trust" ""', 4)).toEqual(['error capacity [databases] app']);
    const instances = Math.ceil(max / 20);
    expect(await found('"check_trust" ""', instances)).toContain(`error capacity ${SERVER()}`);
  });

  test('counts what it keeps for superusers', async () => {
    using setUp = new SetUp(ini(), { 'users.txt': '"check_trust" ""' });
    const { findings } = await setUp.check({ ask: askLimits });
    expect(findings.find(({ code }) => code === 'capacity')?.message).toMatch(
      /max_connections=\d+ less 3 reserved$/,
    );
  });

  test.each([
    ['a wrong password', () => '"check_plain" "guessed"', /as check_plain: password authentication failed/],
    ['a secret that fits no question of it', () => `"check_scram" "${scram}"`, /as check_scram: /],
    ['nobody', () => '', /no user whose password is known|cannot log in/],
  ])('is an error with %s, which tells no secret', async (_name, users, why) => {
    using setUp = new SetUp(ini(), { 'users.txt': users() });
    const { findings } = await setUp.check({ ask: askLimits });
    const error = findings.find(({ code }) => code === 'connect');
    expect(error?.message).toMatch(why);
    expect(JSON.stringify(findings)).not.toMatch(/guessed|SCRAM-SHA-256\$/);
  });
});

describe('a server that is no PostgreSQL', () => {
  const asker = {
    user: 'u',
    database: 'd',
    credentials: { secretText: null, scramKeys: null },
    applicationName: 'test',
  };

  test('is not waited for longer than is said', async () => {
    await using server = await ScriptedServer.listen();
    const asking = askServer({ host: '127.0.0.1', port: server.port }, asker, 'SELECT 1', {
      tls: null,
      timeoutMs: 50,
    });
    await expect(asking).rejects.toThrow('no answer within 0.05 s');
  });

  test('may leave, or talk nonsense', async () => {
    await using server = await ScriptedServer.listen();
    const asking = (bytes: string | null) => {
      const asked = askServer({ host: '127.0.0.1', port: server.port }, asker, 'SELECT 1', {
        tls: null,
        timeoutMs: 5000,
      });
      const serving = server.accept().then(async (peer) => {
        if (bytes !== null) await peer.send(Buffer.from(bytes));
        await peer.close();
      });
      return Promise.allSettled([asked, serving]);
    };
    expect((await asking(null))[0]).toMatchObject({
      reason: { message: expect.stringMatching(/closed the connection|ECONNRESET/) },
    });
    expect((await asking('HTTP/1.1 400 Bad Request\r\n\r\n'))[0].status).toBe('rejected');
  });

  test('is not there', async () => {
    await using server = await ScriptedServer.listen();
    const { port } = server;
    await server[Symbol.asyncDispose]();
    await expect(
      askServer({ host: '127.0.0.1', port }, asker, 'SELECT 1', { tls: null, timeoutMs: 5000 }),
    ).rejects.toThrow(/ECONNREFUSED/);
  });
});

describe('the command', () => {
  const run = (...words: string[]) =>
    spawnSync(process.execPath, [bin, 'check', ...words], { encoding: 'utf8' });

  test('ends with 0, 1 or 2, and needs no server nor root', () => {
    using sound = new SetUp(ini(), { 'users.txt': '"check_trust" ""' });
    expect(run(sound.path)).toMatchObject({ status: 0, stderr: '' });
    expect(run('--instances', '50', sound.path)).toMatchObject({ status: 1, stderr: '' });
    expect(run('--connect', '--instances=50', sound.path).status).toBe(2);
    const wrong = run('--json', `${sound.dir}/none.ini`);
    expect(wrong.status).toBe(2);
    expect(JSON.parse(wrong.stdout)).toMatchObject({ status: 2, findings: [{ level: 'error' }] });
  });
});
