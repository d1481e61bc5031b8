import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../src/cli/start/postgres.ts';
import { runAlone } from '../support/console.ts';
import { connectTo, sharedPostgres } from '../support/postgres.ts';
import { isAlive } from '../support/processes.ts';
import { DaemonHome } from '../support/program.ts';
import { progress, startOwnLoad, startPgbench } from '../support/steady-load.ts';
import { waitFor } from '../support/wait-for.ts';
import { byEffort } from '../support/effort.ts';

/** Two homes of poolers on one port. */
async function pair(): Promise<[DaemonHome, DaemonHome]> {
  const settings = {
    so_reuseport: 1,
    listen_port: await freePort(),
    pool_mode: 'transaction',
    log_connections: 0,
    log_disconnections: 0,
  };
  return [await DaemonHome.make({ settings }), await DaemonHome.make({ settings })];
}

/** Ten in `npm run test:full`. */
const RESTARTS = byEffort({ wide: 3, full: 10 });

test('restarts, one process at a time, cost nobody anything', { timeout: 240_000 }, async () => {
  const [one, two] = await pair();
  await using first = one;
  await using second = two;
  await first.start();
  await second.start();
  const target = { ...sharedPostgres(), host: '127.0.0.1', port: first.port };
  const loads = [startOwnLoad(target, 4), startPgbench(target, 4)].filter((load) => load !== null);
  for (let round = 0; round < RESTARTS; round++) {
    for (const load of loads) await progress(load);
    const home = round % 2 === 0 ? first : second;
    const pid = home.pid as number;
    // By the console and by the signal in turn.
    if (round % 4 < 2) home.signal('SIGTERM');
    else await runAlone(home.socketPath, target.user, 'SHUTDOWN WAIT_FOR_CLIENTS');
    await waitFor(() => !isAlive(pid), { what: 'the end of the old process', deadlineMs: 20_000 });
    expect([existsSync(home.pidfile), existsSync(home.socketPath)]).toEqual([false, false]);
    await home.start();
  }
  const ends = await Promise.all(loads.map((load) => load.stop()));
  const transactions = ends.map((end) => end.transactions);
  console.log(
    `${RESTARTS} restarts under load: ${transactions.join(' + ')} transactions, each on a new connection`,
  );
  expect(ends.map(({ errors }) => errors)).toEqual(ends.map(() => []));
  for (const home of [first, second]) {
    expect(home.log).not.toMatch(/ (WARNING|ERROR|FATAL) /);
  }
});

test('a process that ends serves whom the kernel has accepted for it, and nobody is refused', async () => {
  const [one, two] = await pair();
  await using first = one;
  await using second = two;
  await first.start();
  await second.start();
  const { port } = first;
  // It stands still, while connections gather in its queue and the other's.
  const pid = first.signal('SIGSTOP');
  const sockets = await Promise.all(Array.from({ length: 16 }, () => connected(port)));
  for (const socket of sockets) onTestFinished(() => void socket.destroy());
  process.kill(pid, 'SIGTERM');
  process.kill(pid, 'SIGCONT');
  await waitFor(() => first.log.includes('got SIGTERM'));
  const answers = await Promise.all(sockets.map((socket) => firstByte(socket)));
  expect(answers).toEqual(sockets.map(() => 'N'));
  // Some were its own: the kernel spreads them evenly.
  for (const socket of sockets) socket.destroy();
  await waitFor(() => !isAlive(pid));
  await (await connectTo(first.address)).end();
});

function connected(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(socket));
    socket.once('error', reject);
  });
}

/** The answer to an SSLRequest: whoever gives it has taken the connection over. */
function firstByte(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('data', (bytes) => resolve(bytes.toString('latin1')));
    socket.once('error', (error) => resolve(String(error)));
    socket.once('end', () => resolve('end'));
    socket.write(Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]));
  });
}
