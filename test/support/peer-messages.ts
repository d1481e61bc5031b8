/**
 * Messages as tests write and read them, deliberately without the code under test. A body's parts are bytes,
 * numbers (int32) or strings (with their terminating zero).
 */
export type Part = Uint8Array | number | string;

/** A framed message that has been read: `type` is a letter, or empty for packets of the startup phase. */
export interface ReadMessage {
  readonly type: string;
  readonly body: Buffer;
}

/** A message with a type letter and a right length. */
export function message(type: string, ...parts: readonly Part[]): Buffer {
  return Buffer.concat([Buffer.from(type, 'latin1'), packet(...parts)]);
}

/** A packet of the startup phase: length and body, no type. */
export function packet(...parts: readonly Part[]): Buffer {
  const body = Buffer.concat(parts.map(bytesOf));
  return Buffer.concat([int32(body.length + 4), body]);
}

/** A message whose length field says `length`, whatever follows. */
export function lyingMessage(type: string, length: number, ...parts: readonly Part[]): Buffer {
  return Buffer.concat([Buffer.from(type, 'latin1'), int32(length | 0), ...parts.map(bytesOf)]);
}

/** Four bytes, most significant first. */
export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

/** Two bytes, most significant first. */
export function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function bytesOf(part: Part): Uint8Array {
  if (typeof part === 'number') return int32(part);
  if (typeof part === 'string') return Buffer.from(`${part}\0`);
  return part;
}

/** What stands in a CancelRequest where a StartupMessage has its version. */
export const CANCEL_REQUEST = 80877102;

/** What a client says. */
export const frontend = {
  startup: (parameters: Readonly<Record<string, string>>, protocol = 0x30000): Buffer =>
    packet(protocol, ...Object.entries(parameters).flat(), Buffer.of(0)),
  sslRequest: (): Buffer => packet(80877103),
  gssEncRequest: (): Buffer => packet(80877104),
  cancelRequest: (pid: number, secret: Uint8Array): Buffer => packet(CANCEL_REQUEST, pid, secret),
  password: (password: string): Buffer => message('p', password),
  query: (sql: string): Buffer => message('Q', sql),
  parse: (name: string, sql: string): Buffer => message('P', name, sql, int16(0)),
  bind: (portal: string, statement: string): Buffer =>
    message('B', portal, statement, int16(0), int16(0), int16(0)),
  bindTexts: (portal: string, statement: string, values: readonly string[]): Buffer =>
    message(
      'B',
      ...[portal, statement, int16(0), int16(values.length)],
      ...values.flatMap((value) => [Buffer.byteLength(value), Buffer.from(value)]),
      int16(0),
    ),
  /** Without parameters; `formats` are its result format codes. */
  bindFormats: (portal: string, statement: string, formats: readonly number[]): Buffer =>
    message('B', portal, statement, int16(0), int16(0), int16(formats.length), ...formats.map(int16)),
  execute: (portal: string, maxRows = 0): Buffer => message('E', portal, maxRows),
  describe: (kind: 'S' | 'P', name: string): Buffer => message('D', Buffer.from(kind), name),
  close: (kind: 'S' | 'P', name: string): Buffer => message('C', Buffer.from(kind), name),
  flush: (): Buffer => message('H'),
  sync: (): Buffer => message('S'),
  copyData: (data: string): Buffer => message('d', Buffer.from(data)),
  copyDone: (): Buffer => message('c'),
  copyFail: (reason: string): Buffer => message('f', reason),
  terminate: (): Buffer => message('X'),
} as const;

/** What a server says. */
export const backend = {
  authenticationOk: (): Buffer => message('R', 0),
  authenticationCleartext: (): Buffer => message('R', 3),
  parameterStatus: (name: string, value: string): Buffer => message('S', name, value),
  backendKeyData: (pid: number, secret: Uint8Array): Buffer => message('K', pid, secret),
  readyForQuery: (status: 'I' | 'T' | 'E' = 'I'): Buffer => message('Z', Buffer.from(status)),
  commandComplete: (tag: string): Buffer => message('C', tag),
  rowDescription: (...names: readonly string[]): Buffer =>
    message(
      'T',
      int16(names.length),
      ...names.flatMap((name) => [name, 0, int16(0), 25, int16(-1), -1, int16(0)]),
    ),
  dataRow: (...values: readonly string[]): Buffer =>
    message('D', int16(values.length), ...values.flatMap((v) => [Buffer.byteLength(v), Buffer.from(v)])),
  /** Fields by their letters, such as `{ S: 'ERROR', C: '42601', M: 'no' }`. */
  errorResponse: (fields: Readonly<Record<string, string>>): Buffer =>
    message('E', ...Object.entries(fields).map(([letter, text]) => letter + text), Buffer.of(0)),
} as const;

/** Names, types and modifiers of the columns of a RowDescription's body. */
export function columnsOf(body: Buffer): string {
  const all: string[] = [];
  for (let pos = 2; pos < body.length; ) {
    const zero = body.indexOf(0, pos);
    all.push(
      `${body.toString('utf8', pos, zero)} ${body.readUInt32BE(zero + 7)} ${body.readInt32BE(zero + 13)}`,
    );
    pos = zero + 19;
  }
  return all.join(', ');
}

/** The fields of an ErrorResponse or NoticeResponse by their letters. */
export function errorFields(body: Buffer): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const field of body.toString().split('\0')) {
    if (field !== '') fields[field.charAt(0)] = field.slice(1);
  }
  return fields;
}
