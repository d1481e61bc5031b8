import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { DatagramPeer } from '../support/datagram-peer.ts';
import { INSPECTED, Inspector } from '../support/inspector.ts';
import { type SpawnedPooler, spawnPooler } from '../support/pooler.ts';
import { watch } from '../support/console.ts';
import { waitFor } from '../support/wait-for.ts';

const TICK_MS = 100;

/** A pooler of two threads whose watchdog is to be fed every {@link TICK_MS}. */
async function start(): Promise<{ pooler: SpawnedPooler; inspector: Inspector; pings: () => number }> {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-w-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const peer = new DatagramPeer(join(folder, 'notify'));
  onTestFinished(() => peer[Symbol.dispose]());
  const pooler = await spawnPooler({
    own: { workers: 2 },
    nodeArgs: [INSPECTED],
    env: { NOTIFY_SOCKET: peer.address, WATCHDOG_USEC: String(2000 * TICK_MS) },
  });
  onTestFinished(() => pooler[Symbol.asyncDispose]());
  const inspector = await Inspector.of(() => pooler.stderr);
  onTestFinished(() => inspector[Symbol.dispose]());
  const pings = () => peer.all().filter((text) => text === 'WATCHDOG=1').length;
  const before = pings();
  await waitFor(() => pings() >= before + 3, { what: 'pings while all threads turn' });
  return { pooler, inspector, pings };
}

/** Has the second thread hang; gives what lets it go on. */
async function hang(pooler: SpawnedPooler, inspector: Inspector): Promise<() => void> {
  const release = join(pooler.folder, 'release');
  const hanging = `fs.writeSync(2, 'hangs now'); while (!fs.existsSync(${JSON.stringify(release)}));`;
  await inspector.run('pgweir-2', hanging);
  await waitFor(() => pooler.stderr.includes('hangs now'));
  return () => writeFileSync(release, '');
}

test('a thread that hangs keeps the watchdog from being fed, though the main one turns', async () => {
  const { pooler, inspector, pings } = await start();
  const goOn = await hang(pooler, inspector);
  // What had been answered before may still be told.
  await inspector.turns(3 * TICK_MS);
  const before = pings();
  await inspector.turns(10 * TICK_MS);
  expect(pings()).toBe(before);
  goOn();
  await waitFor(() => pings() >= before + 3, { what: 'pings when it turns again' });
});

test('RELOAD is answered when the last thread goes by the new configuration, and not before', async () => {
  const { pooler, inspector } = await start();
  // The first connection is the first thread's.
  const console = await pooler.admin();
  const goOn = await hang(pooler, inspector);
  await console.query('SHOW VERSION');
  const reload = watch(console.query('RELOAD'));
  await waitFor(() => pooler.stderr.includes('RELOAD command issued'));
  await inspector.turns(3 * TICK_MS);
  expect(reload.settled).toBe(false);
  goOn();
  expect(await reload.promise).toMatchObject({ command: 'RELOAD' });
  await console.end();
});

test('a thread that dies does not, whether it has been asked or not', async () => {
  const { pooler, inspector, pings } = await start();
  // It is asked meanwhile, and never answers.
  const hang = `for (const end = performance.now() + ${10 * TICK_MS}; performance.now() < end; );`;
  for (const [index, what] of ['', hang].entries()) {
    await inspector.run('pgweir-1', `${what} process.exit(3)`);
    await waitFor(() => pooler.stderr.split('worker 1 serves again').length === index + 2, {
      what: 'another thread in its place',
    });
    const before = pings();
    await waitFor(() => pings() >= before + 3, { what: 'pings when another one has begun' });
  }
  expect(
    pooler.stderr.match(/worker 1 has died, and its clients with it: it has ended with code 3/g),
  ).toHaveLength(2);
});
