import { BackendType } from './codes.ts';
import { ProtocolViolation } from './pg-error.ts';
import { Reader } from './reader.ts';
import { Writer } from './writer.ts';

/** ParameterStatus: name and value. */
export function parameterStatus(name: string, value: string): Buffer {
  return new Writer().begin(BackendType.ParameterStatus).cstring(name).cstring(value).end().take();
}

/** Reads a ParameterStatus body `chunk[start, end)`. Throws ProtocolViolation when it is malformed. */
export function parseParameterStatus(chunk: Buffer, start: number, end: number): readonly [string, string] {
  const reader = new Reader(chunk, start, end);
  try {
    return [reader.cstring(), reader.cstring()];
  } catch (error) {
    throw new ProtocolViolation('broken ParameterStatus packet', { cause: error });
  }
}
