import assert from 'node:assert';
import { StartupCode } from './codes.ts';
import { Writer } from './writer.ts';

/**
 * StartupMessage of protocol 3.`minor`, the first bytes to a server: `parameters` in the order given, then the
 * terminator. Names aren't empty (an empty name is the terminator).
 * Source: manual, `protocol-message-formats`, StartupMessage.
 */
export function startupMessage(
  minor: number,
  parameters: Iterable<readonly [name: string, value: string]>,
): Buffer {
  const w = new Writer().beginUntyped().int32(StartupCode.Protocol30 + minor);
  for (const [name, value] of parameters) {
    assert(name !== '' && !name.startsWith('\0'), 'startup parameter without a name');
    w.cstring(name).cstring(value);
  }
  return w.byte(0).end().take();
}

/**
 * CancelRequest, the only packet of its connection: `key` is the server's BackendKeyData body, process ID and
 * secret together (8 bytes in protocol 3.0, up to 260 in 3.2). Source: manual, `protocol-message-formats`.
 */
export function cancelRequest(key: Buffer): Buffer {
  return new Writer(8 + key.length).beginUntyped().int32(StartupCode.CancelRequest).bytes(key).end().take();
}

/** SSLRequest: 8 bytes, answered by `S` or `N`. Source: manual, `protocol-message-formats`. */
export const sslRequest: Buffer = new Writer(8).beginUntyped().int32(StartupCode.SSLRequest).end().take();
