import { BackendType } from './codes.ts';
import { Writer } from './writer.ts';

/** BackendKeyData: process ID (4 bytes) and secret key (4 bytes in protocol 3.0), together `key`. */
export function backendKeyData(key: Buffer): Buffer {
  return new Writer(16).begin(BackendType.BackendKeyData).bytes(key).end().take();
}
