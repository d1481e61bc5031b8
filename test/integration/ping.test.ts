import { appendFileSync } from 'node:fs';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '../support/wait-for.ts';
import { allowRoot, DaemonHome, type ProgramRun, runProgram } from '../support/program.ts';
import { connectTo } from '../support/postgres.ts';

let home: DaemonHome;

beforeAll(async () => {
  home = await DaemonHome.make({ settings: { max_client_conn: 1, pool_mode: 'transaction' } });
});

afterAll(() => home[Symbol.asyncDispose]());

function ping(): Promise<ProgramRun> {
  return runProgram(['ping', home.iniPath], { env: allowRoot });
}

test('ping fails in one line while nobody runs', async () => {
  const { code, stdout, stderr } = await ping();
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/^pgweir: .*\n$/);
});

test('ping tells how a pooler is that runs, also when it has no place for clients or its file is broken', async () => {
  expect(await runProgram(['-d', home.iniPath], { env: allowRoot })).toMatchObject({ code: 0 });
  expect(await ping()).toMatchObject({ code: 0, stdout: 'active\n', stderr: '' });
  const client = await connectTo(home.address);
  await expect(connectTo(home.address)).rejects.toThrow('no more connections allowed (max_client_conn)');
  const admin = await connectTo(home.address, { database: 'pgbouncer' });
  await admin.query('PAUSE');
  appendFileSync(home.iniPath, '\nno_such_setting = 1\n');
  expect(await ping()).toMatchObject({ code: 0, stdout: 'paused\n', stderr: '' });
  await admin.query('RESUME');
  await admin.end();
  await client.end();
});

test('ping fails when the pooler hangs, although its port takes connections', async () => {
  const pid = home.signal('SIGSTOP');
  try {
    const pinged = ping();
    await new Promise<void>((resolve, reject) => {
      const socket = connect(home.port, '127.0.0.1', () => resolve());
      socket.once('error', reject);
      socket.once('connect', () => socket.destroy());
    });
    expect(await pinged).toMatchObject({ code: 1, stdout: '', stderr: 'pgweir: no answer within 5 s\n' });
  } finally {
    process.kill(pid, 'SIGCONT');
  }
});

test('ping goes on answering while the pooler waits for its last clients to leave', async () => {
  // Those who came while it hung may have the only place for a moment.
  const client = await waitFor(() => connectTo(home.address).catch(() => null), { what: 'a place' });
  home.signal('SIGTERM');
  await waitFor(() => home.log.includes('got SIGTERM'), { what: 'the shutdown' });
  expect(await ping()).toMatchObject({ code: 0, stdout: 'active\n', stderr: '' });
  await client.end();
  await waitFor(() => home.pid === null, { what: 'its end' });
  expect(await ping()).toMatchObject({ code: 1, stdout: '' });
});

test('ping needs a unix socket', async () => {
  await using other = await DaemonHome.make({ settings: { unix_socket_dir: '' } });
  expect(await runProgram(['ping', other.iniPath])).toMatchObject({
    code: 1,
    stderr: 'pgweir: ping needs a unix socket (unix_socket_dir)\n',
  });
});

test('ping without a file that can be read fails in one line', async () => {
  expect(await runProgram(['ping', '/nonexistent/pgbouncer.ini'])).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^pgweir: .*\/nonexistent\/pgbouncer\.ini.*\n$/),
  });
});
