import { BackendType } from './codes.ts';
import { Writer } from './writer.ts';

/** Bytes of the process ID at the front of a key. */
export const PROCESS_ID_BYTES = 4;
const MIN_SECRET_BYTES = 4;
const MAX_SECRET_BYTES = 256;

/**
 * Whether a key, process ID and secret together, may have so many bytes: 4 of process ID, then 4 (always so in protocol
 * 3.0) to 256 (3.2) of secret. Source: manual, `protocol-message-formats`, BackendKeyData, CancelRequest.
 */
export function isCancelKeyLength(bytes: number): boolean {
  return bytes >= PROCESS_ID_BYTES + MIN_SECRET_BYTES && bytes <= PROCESS_ID_BYTES + MAX_SECRET_BYTES;
}

/** BackendKeyData: process ID (4 bytes) and secret (4 bytes in protocol 3.0, up to 256 in 3.2), together `key`. */
export function backendKeyData(key: Buffer): Buffer {
  return new Writer(8 + key.length).begin(BackendType.BackendKeyData).bytes(key).end().take();
}
