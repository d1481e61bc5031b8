import type { MoveCounters, WorkerSnapshot } from './snapshot.ts';
import { bigint, int, type Show, show, text } from './table.ts';

/** SHOW WORKERS, our own: the threads that serve clients, and how many servers go between them, in all and per second. */
export const showWorkers: Show = show<WorkerSnapshot>(
  [
    int('worker', (w) => w.worker),
    text('state', (w) => w.state),
    text('start_time', (w, { localTime }) =>
      w.startWallMs === null ? null : localTime.seconds(w.startWallMs),
    ),
    int('clients', (w) => w.clients),
    int('servers', (w) => w.servers),
    bigint('cpu_ms', (w) => w.cpuUs / 1000),
    bigint('total_sent', (w) => w.moves.sent),
    bigint('total_received', (w) => w.moves.received),
    bigint('total_reopened', (w) => w.moves.reopened),
    bigint('avg_sent', (w) => perSecond(w, 'sent')),
    bigint('avg_received', (w) => perSecond(w, 'received')),
    bigint('avg_reopened', (w) => perSecond(w, 'reopened')),
  ],
  ({ control }) => control.snapshot('workers'),
);

/** As the averages of SHOW STATS: whole numbers, rounded down. */
function perSecond({ moves, since, windowUs }: WorkerSnapshot, what: keyof MoveCounters): number {
  return windowUs > 0 ? Math.floor(((moves[what] - since[what]) * 1e6) / windowUs) : 0;
}
