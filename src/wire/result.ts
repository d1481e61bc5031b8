import { BackendType } from './codes.ts';
import { Writer } from './writer.ts';

/** OIDs of the types that the console's columns have (catalog `pg_type`). */
export const TypeOid = { bytea: 17, int8: 20, int4: 23, text: 25, numeric: 1700 } as const;
export type TypeOid = (typeof TypeOid)[keyof typeof TypeOid];

/** One column of a result that pgweir makes itself. */
export interface Column {
  readonly name: string;
  readonly type: TypeOid;
}

/** A value in text format: a number is written in decimal, null is SQL's NULL. */
export type Cell = string | number | null;

/** `typlen` as the catalog has it; -1 stands for variable length. */
const typeLength: Readonly<Record<TypeOid, number>> = { 17: -1, 20: 8, 23: 4, 25: -1, 1700: -1 };

const NO_TABLE = 0;
const NO_TYPE_MODIFIER = -1;
const TEXT_FORMAT = 0;

/** EmptyQueryResponse; shared, so don't write to it. */
export const emptyQueryResponse: Buffer = Buffer.from([BackendType.EmptyQueryResponse, 0, 0, 0, 4]);

/** CommandComplete with the given tag. Source: manual, `protocol-message-formats`. */
export function commandComplete(tag: string): Buffer {
  return new Writer().begin(BackendType.CommandComplete).cstring(tag).end().take();
}

/**
 * A whole answer with rows: RowDescription, a DataRow each, CommandComplete. All of it is text format, without
 * table or type modifier. Rows have as many cells as there are columns. The bytes belong to the caller.
 * Source: manual, `protocol-message-formats`, RowDescription and DataRow.
 */
export function resultSet(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  tag: string,
): Buffer {
  const w = new Writer(1024);
  w.begin(BackendType.RowDescription).int16(columns.length);
  for (const { name, type } of columns) {
    w.cstring(name).int32(NO_TABLE).int16(0).int32(type).int16(typeLength[type]);
    w.int32(NO_TYPE_MODIFIER).int16(TEXT_FORMAT);
  }
  w.end();
  for (const row of rows) {
    w.begin(BackendType.DataRow).int16(row.length);
    for (const cell of row) {
      if (cell === null) {
        w.int32(-1);
      } else {
        const bytes = Buffer.from(String(cell), 'utf8');
        w.int32(bytes.length).bytes(bytes);
      }
    }
    w.end();
  }
  w.begin(BackendType.CommandComplete).cstring(tag).end();
  return w.take();
}
