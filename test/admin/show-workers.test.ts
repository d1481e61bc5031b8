import { expect, test } from 'vitest';
import { LocalTime } from '../../src/base/local-time.ts';
import type { WorkerSnapshot } from '../../src/admin/snapshot.ts';
import { query, record, rig } from './fake-control.ts';

const START = Date.UTC(2026, 0, 2, 3, 4, 5);
const worker: WorkerSnapshot = {
  worker: 1,
  state: 'serving',
  startWallMs: START,
  clients: 7,
  servers: 3,
  cpuUs: 12_345_678,
  moves: { sent: 1000, received: 40, reopened: 9 },
  since: { sent: 400, received: 40, reopened: 0 },
  windowUs: 6_000_000,
};

test('SHOW WORKERS has a row for each thread, with what goes between them in all and per second', async () => {
  const dead: WorkerSnapshot = { ...worker, worker: 2, state: 'dead', startWallMs: null, windowUs: 0 };
  const answer = await query(rig('stats', { workers: [worker, dead] }), 'SHOW WORKERS');
  expect(answer.rows).toHaveLength(2);
  expect(record(answer)).toEqual({
    worker: '1',
    state: 'serving',
    start_time: new LocalTime().seconds(START),
    clients: '7',
    servers: '3',
    cpu_ms: '12345',
    total_sent: '1000',
    total_received: '40',
    total_reopened: '9',
    avg_sent: '100',
    avg_received: '0',
    avg_reopened: '1',
  });
  expect(record(answer, 1)).toMatchObject({ worker: '2', state: 'dead', start_time: null, avg_sent: '0' });
});
