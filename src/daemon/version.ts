import { readFileSync } from 'node:fs';

/**
 * The PgBouncer release whose behaviour, texts and columns are kept. Monitoring reads this number from
 * `SHOW VERSION` and decides by it which columns to expect.
 */
export const PGBOUNCER_VERSION = '1.25.2';

/** Our own version, as package.json says. */
export const PGWEIR_VERSION = readOwnVersion();

/** The first line of `--version` and the row of `SHOW VERSION`. */
export const VERSION_LINE = `PgBouncer ${PGBOUNCER_VERSION} (pgweir ${PGWEIR_VERSION})`;

/** All lines of `--version`: {@link VERSION_LINE}, then what we run on. */
export function versionLines(): string[] {
  const { node, uv, openssl } = process.versions;
  return [VERSION_LINE, `node ${node}`, `libuv ${uv}`, `tls: OpenSSL ${openssl ?? 'none'}`];
}

function readOwnVersion(): string {
  // Two levels up from src/daemon/ as well as from dist/daemon/.
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const parsed: unknown = JSON.parse(text);
  const version: unknown =
    typeof parsed === 'object' && parsed !== null ? Reflect.get(parsed, 'version') : undefined;
  if (typeof version !== 'string') throw new Error('package.json has no version');
  return version;
}
