/** Counters of one pool since it was made; `SHOW STATS` sums them per database. Times in µs, sizes in bytes. */
export interface PoolStats {
  serverAssignmentCount: number;
  xactCount: number;
  queryCount: number;
  /** Client messages handed to servers. */
  received: number;
  /** Bytes received from servers after login. */
  sent: number;
  xactTimeUs: number;
  queryTimeUs: number;
  waitTimeUs: number;
  clientParseCount: number;
  serverParseCount: number;
  bindCount: number;
  clientLoginCount: number;
}

export function emptyStats(): PoolStats {
  return {
    serverAssignmentCount: 0,
    xactCount: 0,
    queryCount: 0,
    received: 0,
    sent: 0,
    xactTimeUs: 0,
    queryTimeUs: 0,
    waitTimeUs: 0,
    clientParseCount: 0,
    serverParseCount: 0,
    bindCount: 0,
    clientLoginCount: 0,
  };
}
