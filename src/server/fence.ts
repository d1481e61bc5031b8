import { randomBytes } from 'node:crypto';
import { BackendType as B } from '../wire/codes.ts';
import { Writer } from '../wire/writer.ts';

/** A query whose answer cannot be mistaken for another's, not even for one that a client made up. */
export interface Fence {
  readonly sql: string;
  /** The RowDescription that begins its answer: one column whose name nobody could foresee. */
  readonly description: Buffer;
}

/** Type int4: OID and size. */
const INT4_OID = 23;
const INT4_BYTES = 4;

/** A fence for one use: clients can read a running one in `pg_stat_activity`. */
export function newFence(): Fence {
  const name = `pgweir_${randomBytes(16).toString('hex')}`;
  const description = new Writer(64)
    .begin(B.RowDescription)
    .int16(1)
    .cstring(name)
    .int32(0)
    .int16(0)
    .int32(INT4_OID)
    .int16(INT4_BYTES)
    .int32(-1)
    .int16(0)
    .end()
    .take();
  return { sql: `SELECT 1 AS ${name}`, description };
}
