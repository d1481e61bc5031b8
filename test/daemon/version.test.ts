import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { PGWEIR_VERSION, VERSION_LINE, versionLines } from '../../src/daemon/version.ts';

it('the version line begins as monitoring parses it and names us with the package version', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(PGWEIR_VERSION).toBe(version);
  expect(VERSION_LINE).toBe(`PgBouncer 1.25.2 (pgweir ${version})`);
  expect(versionLines()).toEqual([
    VERSION_LINE,
    `node ${process.versions.node}`,
    `libuv ${process.versions.uv}`,
    `tls: OpenSSL ${process.versions.openssl}`,
  ]);
});
