import { FrontendType } from './codes.ts';
import { Writer } from './writer.ts';

/** Query: one simple-protocol statement text. */
export function query(sql: string): Buffer {
  return new Writer(sql.length + 6).begin(FrontendType.Query).cstring(sql).end().take();
}

/** Execute of a whole portal. */
export function execute(portal: string): Buffer {
  return new Writer(portal.length + 10).begin(FrontendType.Execute).cstring(portal).int32(0).end().take();
}

/** CopyFail with the reason that PostgreSQL puts into its error. */
export function copyFail(reason: string): Buffer {
  return new Writer(reason.length + 6).begin(FrontendType.CopyFail).cstring(reason).end().take();
}

/** Terminate. Shared: don't write to it. */
export const terminate: Buffer = Buffer.from([FrontendType.Terminate, 0, 0, 0, 4]);

/** Flush. Shared: don't write to it. */
export const flush: Buffer = Buffer.from([FrontendType.Flush, 0, 0, 0, 4]);

/** Sync. Shared: don't write to it. */
export const sync: Buffer = Buffer.from([FrontendType.Sync, 0, 0, 0, 4]);
