import { BackendType } from './codes.ts';
import { ProtocolViolation } from './pg-error.ts';
import { Reader } from './reader.ts';
import { Writer } from './writer.ts';

/** Parse. Source for all of these: manual, `protocol-message-formats`. */
export interface ParseMessage {
  readonly name: string;
  readonly text: string;
  /** How many parameters it gives a type for, known or not. */
  readonly typeCount: number;
}

/** Bind; of its parameters the number only. */
export interface BindMessage {
  readonly portal: string;
  readonly statement: string;
  readonly parameterFormats: readonly number[];
  readonly parameterCount: number;
  readonly resultFormats: readonly number[];
}

/** What Describe and Close are about: a statement or a portal; `kind` is the byte that says which. */
export interface TargetMessage {
  readonly kind: number;
  readonly name: string;
}

/** Execute. */
export interface ExecuteMessage {
  readonly portal: string;
  /** 0 or less: all of them. */
  readonly maxRows: number;
}

/** First byte of Describe and Close. */
export const TargetKind = { statement: 0x53, portal: 0x50 } as const;

/** Each of these throws ProtocolViolation for a body that is no such message. Names and texts are UTF-8, copied. */
export function readParse(body: Buffer): ParseMessage {
  const reader = new Reader(body);
  const name = reader.cstring();
  const text = reader.cstring();
  const typeCount = count(reader);
  reader.bytes(4 * typeCount);
  atEnd(reader);
  return { name, text, typeCount };
}

export function readBind(body: Buffer): BindMessage {
  const reader = new Reader(body);
  const portal = reader.cstring();
  const statement = reader.cstring();
  const parameterFormats = int16s(reader);
  const parameterCount = count(reader);
  for (let left = parameterCount; left > 0; left--) {
    const length = reader.int32();
    if (length !== -1) reader.bytes(length);
  }
  const resultFormats = int16s(reader);
  atEnd(reader);
  return { portal, statement, parameterFormats, parameterCount, resultFormats };
}

export function readTarget(body: Buffer): TargetMessage {
  const reader = new Reader(body);
  const kind = reader.byte();
  const name = reader.cstring();
  atEnd(reader);
  return { kind, name };
}

export function readExecute(body: Buffer): ExecuteMessage {
  const reader = new Reader(body);
  const portal = reader.cstring();
  const maxRows = reader.int32();
  atEnd(reader);
  return { portal, maxRows };
}

/** ParameterDescription: the types' OIDs in order. */
export function parameterDescription(types: readonly number[]): Buffer {
  const w = new Writer(8 + 4 * types.length).begin(BackendType.ParameterDescription).int16(types.length);
  for (const type of types) w.int32(type);
  return w.end().take();
}

/** The counts are Int16 in the manual; PostgreSQL takes them as unsigned. */
function count(reader: Reader): number {
  return reader.int16() & 0xffff;
}

function int16s(reader: Reader): number[] {
  const values: number[] = [];
  for (let left = count(reader); left > 0; left--) values.push(reader.int16());
  return values;
}

function atEnd(reader: Reader): void {
  if (reader.remaining > 0) throw new ProtocolViolation('bytes behind the end of a message');
}
