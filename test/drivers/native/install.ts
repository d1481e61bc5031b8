/**
 * Installs node-postgres on libpq beside this file, compiled for the Node that runs this one, from the headers that come
 * with npm's `node`: `npm run drivers:native`. It is no part of the project's own installation, for it takes a compiler,
 * Python and libpq-dev.
 */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const here = import.meta.dirname;
const run = (file: string, args: readonly string[], cwd: string) =>
  execFileSync(file, args, { cwd, stdio: 'inherit' });

/** Where npm's `node` has put what runs here: with its headers. */
function nodeFolder(): string {
  const ofNode = createRequire(
    createRequire(join(here, '../../../package.json')).resolve('node/package.json'),
  );
  return dirname(ofNode.resolve(`node-${process.platform}-${process.arch}/package.json`));
}

run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], here);
run(
  join(here, 'node_modules/.bin/node-gyp'),
  ['rebuild', `--nodedir=${nodeFolder()}`],
  join(here, 'node_modules/libpq'),
);
