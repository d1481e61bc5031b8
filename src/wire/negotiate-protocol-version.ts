import { BackendType, StartupCode } from './codes.ts';
import { Writer } from './writer.ts';

/**
 * NegotiateProtocolVersion: we speak 3.0, and none of the `_pq_.` options in `unsupportedOptions`. Goes out once,
 * before authentication, to a client that asked for 3.1 or more or for any such option.
 * Source: manual, `protocol-message-formats`, NegotiateProtocolVersion.
 */
export function negotiateProtocolVersion(unsupportedOptions: readonly string[]): Buffer {
  const w = new Writer().begin(BackendType.NegotiateProtocolVersion);
  w.int32(StartupCode.Protocol30).int32(unsupportedOptions.length);
  for (const name of unsupportedOptions) w.cstring(name);
  return w.end().take();
}
