import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { runDemo, StopRequest } from '../../../src/cli/start/demo.ts';
import { freePort } from '../../../src/cli/start/postgres.ts';
import { isAlive } from '../../support/processes.ts';
import { waitFor } from '../../support/wait-for.ts';

const fakePooler = join(import.meta.dirname, '../../support/fake-pooler.ts');

async function startDemo(...poolerArguments: readonly string[]) {
  const port = await freePort();
  // Whoever asks does so a second after the last time.
  let nowMs = 0;
  const stop = new StopRequest(() => (nowMs += 1000));
  const demo = { port, stop, printed: '', logged: '', ended: Promise.resolve(-1) };
  demo.ended = runDemo({
    port,
    pooler: [process.execPath, fakePooler, ...poolerArguments],
    print: (text) => {
      demo.printed += `${text}\n`;
    },
    log: (text) => {
      demo.logged += text;
    },
    stop,
  });
  onTestFinished(async () => {
    stop.ask();
    stop.ask();
    await demo.ended;
  });
  return demo;
}

/** What the printed psql line says, as a client's configuration. */
function pastedLogin(printed: string): pg.ClientConfig {
  const login = /psql "(.*dbname=postgres)"/.exec(printed)?.[1] ?? '';
  const {
    host = '',
    port,
    user = '',
    password = '',
    dbname = '',
  } = Object.fromEntries(login.split(' ').map((pair) => pair.split('=')));
  return { host, port: Number(port), user, password, database: dbname };
}

function iniPath(printed: string): string {
  return /^Configuration: (\S+)/m.exec(printed)?.[1] ?? '';
}

test('the printed line logs in through the pooler; asked to stop, both end and leave nothing behind', async () => {
  const demo = await startDemo();
  await waitFor(() => demo.printed.includes('Ctrl-C'), { deadlineMs: 60_000 });
  const login = pastedLogin(demo.printed);
  expect(login.port).toBe(demo.port);
  const client = new pg.Client(login);
  await client.connect();
  const { rows } = await client.query<{ dir: string }>('SHOW unix_socket_directories');
  await client.end();
  const postgresFolder = Object.values(rows[0] ?? {})[0] ?? '';
  const pooler = Number(/process up: (\d+)/.exec(demo.logged)?.[1]);
  const ini = iniPath(demo.printed);
  expect([existsSync(postgresFolder), existsSync(ini), isAlive(pooler)]).toEqual([true, true, true]);
  demo.stop.ask();
  expect(await demo.ended).toBe(0);
  expect([existsSync(postgresFolder), existsSync(dirname(ini)), isAlive(pooler)]).toEqual([
    false,
    false,
    false,
  ]);
});

test('an open session delays the end until the second request to stop', async () => {
  const demo = await startDemo();
  await waitFor(() => demo.printed.includes('Ctrl-C'), { deadlineMs: 60_000 });
  const client = new pg.Client(pastedLogin(demo.printed));
  client.on('error', () => {});
  await client.connect();
  demo.stop.ask();
  await waitFor(() => demo.logged.includes('got SIGINT'));
  await client.query('SELECT 1');
  demo.stop.ask();
  expect(await demo.ended).toBe(0);
});

test('a pooler that ends by itself ends the whole, as a failure, with its log shown', async () => {
  const demo = await startDemo('fail');
  expect(await demo.ended).toBe(1);
  expect(demo.logged).toContain('FATAL no luck');
  expect(demo.printed).toContain('the pooler ended by itself');
});

test('a port that is taken is told in one line, and nothing is started', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  onTestFinished(() => {
    other.close();
  });
  const address = other.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const printed: string[] = [];
  const code = await runDemo({
    port,
    pooler: ['/nowhere'],
    print: (text) => printed.push(text),
    log: () => {},
    stop: new StopRequest(),
  });
  expect(code).toBe(1);
  expect(printed).toEqual([
    `port ${port} is taken: stop what listens there, or choose another port with PGWEIR_PORT`,
  ]);
});

test('a terminal interrupt to the whole process group reaches only the starter, which ends with 0', async () => {
  const { child, output } = await startInGroup();
  const pooler = Number(/process up: (\d+)/.exec(output())?.[1]);
  process.kill(-(child.pid ?? 0), 'SIGINT');
  const [code] = await once(child, 'exit');
  expect(code).toBe(0);
  expect(output().match(/got SIGINT/g)).toHaveLength(1);
  expect(isAlive(pooler)).toBe(false);
});

test('killed, the starter leaves neither pooler nor PostgreSQL nor files', async () => {
  const { child, output } = await startInGroup();
  const pooler = Number(/process up: (\d+)/.exec(output())?.[1]);
  const login = new pg.Client(pastedLogin(output()));
  await login.connect();
  const { rows } = await login.query<{ dir: string }>("SELECT current_setting('data_directory') AS dir");
  await login.end();
  const ini = iniPath(output());
  child.kill('SIGKILL');
  await waitFor(() => !isAlive(pooler) && !existsSync(ini), { what: 'the end of the pooler' });
  await waitFor(() => !existsSync(rows[0]?.dir ?? '/'), { what: 'the end of PostgreSQL' });
});

/** A starter in a process group of its own, as a shell starts one. */
async function startInGroup(): Promise<{ child: ChildProcess; output: () => string }> {
  const module = join(import.meta.dirname, '../../../src/cli/start/demo.ts');
  const port = await freePort();
  const script = `
    import { runDemo, StopRequest } from ${JSON.stringify(module)};
    const stop = new StopRequest();
    process.on('SIGINT', () => stop.ask());
    process.exitCode = await runDemo({
      port: ${port},
      pooler: [process.execPath, ${JSON.stringify(fakePooler)}],
      print: (text) => console.log(text),
      log: (text) => process.stdout.write(text),
      stop,
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  onTestFinished(() => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  });
  await waitFor(() => text.includes('Ctrl-C'), { deadlineMs: 60_000, what: `the starter to be up: ${text}` });
  return { child, output: () => text };
}

test('a Ctrl-C that npm passes on once more is one, a later one is another', () => {
  let nowMs = 0;
  const stop = new StopRequest(() => nowMs);
  const counts: number[] = [];
  stop.listen(() => counts.push(stop.count));
  for (const atMs of [0, 1, 200, 1000, 1249]) {
    nowMs = atMs;
    stop.ask();
  }
  expect(counts).toEqual([1, 2]);
});
