import { BackendType, TxStatus } from './codes.ts';

/** ReadyForQuery with transaction status `I`, the only one that pgweir sends of its own. Shared: don't write to it. */
export const readyForQueryIdle: Buffer = readyForQuery(TxStatus.Idle);

/** ReadyForQuery: `Z`, length 5, one status byte. */
export function readyForQuery(status: number): Buffer {
  return Buffer.from([BackendType.ReadyForQuery, 0, 0, 0, 5, status]);
}
