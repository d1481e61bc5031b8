/** One element of DER or BER: its tag, and where its content lies. */
export interface Element {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

/** The element that begins at `pos`; null when none does that ends by `limit`. */
export function elementAt(der: Buffer, pos: number, limit: number): Element | null {
  if (pos + 2 > limit) return null;
  const tag = der.readUInt8(pos);
  const short = der.readUInt8(pos + 1);
  const lengthBytes = short < 0x80 ? 0 : short & 0x7f;
  if (short === 0x80 || lengthBytes > 4 || pos + 2 + lengthBytes > limit) return null;
  const start = pos + 2 + lengthBytes;
  const end = start + (lengthBytes === 0 ? short : der.readUIntBE(pos + 2, lengthBytes));
  return end > limit ? null : { tag, start, end };
}
