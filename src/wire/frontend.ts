import { FrontendType } from './codes.ts';
import { Writer } from './writer.ts';

/** Query: one simple-protocol statement text. */
export function query(sql: string): Buffer {
  return new Writer(sql.length + 6).begin(FrontendType.Query).cstring(sql).end().take();
}

/** Parse of the unnamed statement; its parameters' types are PostgreSQL's to find. */
export function parseUnnamed(sql: string): Buffer {
  return new Writer(sql.length + 10).begin(FrontendType.Parse).byte(0).cstring(sql).int16(0).end().take();
}

/** Bind of the unnamed statement to the unnamed portal: parameters and results are text. */
export function bindUnnamed(parameters: readonly string[]): Buffer {
  const w = new Writer(64).begin(FrontendType.Bind).byte(0).byte(0).int16(0).int16(parameters.length);
  for (const parameter of parameters) {
    const bytes = Buffer.from(parameter);
    w.int32(bytes.length).bytes(bytes);
  }
  return w.int16(0).end().take();
}

/** Describe of the unnamed portal. Shared: don't write to it. */
export const describeUnnamedPortal: Buffer = Buffer.from([FrontendType.Describe, 0, 0, 0, 6, 0x50, 0]);

/** Execute of a whole portal. */
export function execute(portal: string): Buffer {
  return new Writer(portal.length + 10).begin(FrontendType.Execute).cstring(portal).int32(0).end().take();
}

/** CopyFail with the reason that PostgreSQL puts into its error. */
export function copyFail(reason: string): Buffer {
  return new Writer(reason.length + 6).begin(FrontendType.CopyFail).cstring(reason).end().take();
}

/** Close of a prepared statement: no error where there is none of that name. */
export function closeStatement(name: string): Buffer {
  return new Writer(name.length + 8).begin(FrontendType.Close).byte(0x53).cstring(name).end().take();
}

/** Terminate. Shared: don't write to it. */
export const terminate: Buffer = Buffer.from([FrontendType.Terminate, 0, 0, 0, 4]);

/** Flush. Shared: don't write to it. */
export const flush: Buffer = Buffer.from([FrontendType.Flush, 0, 0, 0, 4]);

/** Sync. Shared: don't write to it. */
export const sync: Buffer = Buffer.from([FrontendType.Sync, 0, 0, 0, 4]);
