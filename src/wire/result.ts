import { binaryCell } from './binary-cell.ts';
import { BackendType } from './codes.ts';
import { typeLength, type TypeOid } from './type-oid.ts';
import { Writer } from './writer.ts';

export { TypeOid } from './type-oid.ts';

/** One column of a result that pgweir makes itself. */
export interface Column {
  readonly name: string;
  readonly type: TypeOid;
}

/** A value in text format: a number is written in decimal, null is SQL's NULL. */
export type Cell = string | number | null;

/** Format codes of values. Source: manual, `protocol-overview`. */
export const Format = { text: 0, binary: 1 } as const;
export type Format = (typeof Format)[keyof typeof Format];

const NO_TABLE = 0;
const NO_TYPE_MODIFIER = -1;

/** EmptyQueryResponse; shared, so don't write to it. */
export const emptyQueryResponse: Buffer = Buffer.from([BackendType.EmptyQueryResponse, 0, 0, 0, 4]);

/** CommandComplete with the given tag. Source: manual, `protocol-message-formats`. */
export function commandComplete(tag: string): Buffer {
  return new Writer().begin(BackendType.CommandComplete).cstring(tag).end().take();
}

/**
 * RowDescription without table or type modifier; `formats` has one entry per column. The bytes belong to the caller.
 * Source: manual, `protocol-message-formats`.
 */
export function rowDescription(columns: readonly Column[], formats: readonly Format[]): Buffer {
  const w = new Writer(256);
  w.begin(BackendType.RowDescription).int16(columns.length);
  columns.forEach(({ name, type }, i) => {
    w.cstring(name).int32(NO_TABLE).int16(0).int32(type).int16(typeLength[type]);
    w.int32(NO_TYPE_MODIFIER).int16(formats[i] ?? Format.text);
  });
  return w.end().take();
}

/**
 * A DataRow for each of the rows, which have as many cells as there are columns; `formats` has one entry per column.
 * Throws RangeError for an integer that its type cannot hold in binary. The bytes belong to the caller.
 * Source: manual, `protocol-message-formats`.
 */
export function dataRows(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  formats: readonly Format[],
): Buffer {
  const w = new Writer(1024);
  for (const row of rows) {
    w.begin(BackendType.DataRow).int16(row.length);
    row.forEach((cell, i) => {
      if (cell === null) {
        w.int32(-1);
        return;
      }
      const text = String(cell);
      const type = (columns[i] as Column).type;
      const bytes = formats[i] === Format.binary ? binaryCell(type, text) : Buffer.from(text, 'utf8');
      w.int32(bytes.length).bytes(bytes);
    });
    w.end();
  }
  return w.take();
}

/** A whole answer with rows in text format: RowDescription, a DataRow each, CommandComplete. */
export function resultSet(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  tag: string,
): Buffer {
  const formats = columns.map(() => Format.text);
  return Buffer.concat([
    rowDescription(columns, formats),
    dataRows(columns, rows, formats),
    commandComplete(tag),
  ]);
}
