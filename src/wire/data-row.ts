import { Reader } from './reader.ts';

/** The columns of a DataRow's body as text (UTF-8), null for NULL. Throws ProtocolViolation when it is malformed. */
export function parseDataRow(body: Buffer): (string | null)[] {
  const reader = new Reader(body);
  const columns: (string | null)[] = [];
  for (let left = reader.int16(); left > 0; left--) {
    const length = reader.int32();
    columns.push(length === -1 ? null : reader.bytes(length).toString('utf8'));
  }
  return columns;
}
