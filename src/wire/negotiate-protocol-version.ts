import { BackendType, StartupCode } from './codes.ts';
import { ProtocolViolation } from './pg-error.ts';
import { Reader } from './reader.ts';
import { Writer } from './writer.ts';

/**
 * NegotiateProtocolVersion: the connection goes on in 3.`minor`, and we know none of the `_pq_.` options in
 * `unsupportedOptions` (names without terminator, as the client sent them). Goes out once, before authentication, to a
 * client that asked for a newer version or for any such option.
 * Source: manual, `protocol-message-formats`, NegotiateProtocolVersion.
 */
export function negotiateProtocolVersion(minor: number, unsupportedOptions: readonly Buffer[]): Buffer {
  const w = new Writer().begin(BackendType.NegotiateProtocolVersion);
  w.int32(StartupCode.Protocol30 + minor).int32(unsupportedOptions.length);
  for (const name of unsupportedOptions) w.bytes(name).byte(0);
  return w.end().take();
}

/**
 * Reads a server's NegotiateProtocolVersion; gives the minor version that the connection goes on in. Throws
 * ProtocolViolation for an answer that can't be one to a StartupMessage that asked for 3.`askedMinor` and for no
 * `_pq_.` option: another major version, a newer minor one, 3.1 (which nobody speaks), options, a wrong length.
 */
export function parseNegotiateProtocolVersion(body: Buffer, askedMinor: number): number {
  const reader = new Reader(body);
  const minor = reader.int32() - StartupCode.Protocol30;
  const optionCount = reader.int32();
  if (minor < 0 || minor > askedMinor || minor === 1 || optionCount !== 0 || reader.remaining !== 0) {
    throw new ProtocolViolation('broken NegotiateProtocolVersion packet');
  }
  return minor;
}
