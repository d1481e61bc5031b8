import { ConfigError, type SourcePosition } from './config-error.ts';
import { EntryNumbers, parseConnectString, shownKey } from './connect-string.ts';

/**
 * One entry of `[peers]`: another pooler of the same group, to which cancel requests may be handed on.
 * `poolSize` null means default_pool_size. Source: PgBouncer `[peers]`.
 */
export interface PeerEntry {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly poolSize: number | null;
}

/**
 * Reads one entry. `warn` gets what is accepted but odd. Throws {@link ConfigError} for an id outside 1 to
 * 65535, an unknown key, a missing host or a port out of range.
 */
export function parsePeer(
  name: string,
  text: string,
  at: SourcePosition,
  warn: (warning: string) => void,
): PeerEntry {
  const id = /^[0-9]{1,5}$/.test(name) ? Number(name) : 0;
  if (id < 1 || id > 65535) throw new ConfigError(at, name, 'a peer id from 1 to 65535');
  let host: string | null = null;
  let port = 6432;
  let poolSize: number | null = null;
  const numbers = new EntryNumbers(name, at, warn);
  for (const pair of parseConnectString(text, name, at)) {
    if (pair.key === 'host') host = pair.value;
    else if (pair.key === 'port') port = numbers.read(pair);
    else if (pair.key === 'pool_size') poolSize = numbers.atLeast(pair, 0);
    else throw new ConfigError(at, name, `only keys of [peers], found ${shownKey(pair.key)}`);
  }
  if (host === null) throw new ConfigError(at, name, 'a host for the peer');
  if (port < 1 || port > 65535) throw new ConfigError(at, name, 'a port from 1 to 65535 for port');
  return { id, host, port, poolSize };
}
