import { NATIVE_THEMES, type Native, type NativeTheme } from '../net/native.ts';

/** What an operator has to do without, by what is missing. */
const COSTS: Readonly<Record<NativeTheme, string>> = {
  credentials: 'nobody logs in by peer, nor as pgbouncer over the unix socket',
  hangUp: 'a client that leaves while it waits may be noticed late',
  options: 'the kernel is told of keepalive alone, by Node',
  io: "bytes go through Node's own streams, which is slower",
  names: 'only /etc/passwd and /etc/group are known, and nobody logs in by peer',
  process: 'core dumps are allowed',
  datagram: 'nothing goes to syslog, journal or systemd',
  listen: 'a listener that closes may refuse connections',
  batch: 'each read and write of a connection is a system call, which costs more CPU',
  tls: "TLS goes through Node's own streams, which costs more CPU",
};

/** Lines for the log about native calls that are not to be had; mostly none. */
export function nativeWarnings({ missing }: Pick<Native, 'missing'>): string[] {
  const reasons = new Set(missing.values());
  if (missing.size === NATIVE_THEMES.length && reasons.size === 1) {
    const costs = `${COSTS.credentials}; ${COSTS.process}; ${COSTS.io}`;
    return [`native calls are not available (${[...reasons].join()}): ${costs}`];
  }
  return [...missing].map(([theme, why]) => `some native calls are not available (${why}): ${COSTS[theme]}`);
}
