import type { PoolStats } from '../pool/stats.ts';
import { TxStatus } from '../wire/codes.ts';

/** When a client's open query and transaction began, and what becomes of that in the statistics. Monotonic ms. */
export class QueryTimes {
  /** 0 = none is open. */
  queryStartMs = 0;
  xactStartMs = 0;
  /** When the open (or last) query began; the connect time before the first. */
  requestMs: number;

  constructor(connectMs: number) {
    this.requestMs = connectMs;
  }

  open(nowMs: number, stats: PoolStats): void {
    if (this.queryStartMs !== 0) return;
    this.queryStartMs = nowMs;
    this.requestMs = nowMs;
    stats.queryCount++;
    if (this.xactStartMs !== 0) return;
    this.xactStartMs = nowMs;
    stats.xactCount++;
  }

  /** Nothing of the query was sent, and no server is linked: it has not begun. */
  withdraw(stats: PoolStats): void {
    if (this.queryStartMs === 0) return;
    this.queryStartMs = 0;
    stats.queryCount--;
    if (this.xactStartMs === 0) return;
    this.xactStartMs = 0;
    stats.xactCount--;
  }

  /** Everything is answered; the last ReadyForQuery said `status`. */
  answered(status: number, nowMs: number, stats: PoolStats): void {
    if (this.queryStartMs === 0) return;
    stats.queryTimeUs += Math.round((nowMs - this.queryStartMs) * 1000);
    this.queryStartMs = 0;
    if (status !== TxStatus.Idle) return;
    stats.xactTimeUs += Math.round((nowMs - this.xactStartMs) * 1000);
    this.xactStartMs = 0;
  }
}
