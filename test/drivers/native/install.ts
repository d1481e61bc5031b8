/**
 * Installs node-postgres on libpq beside this file, compiled for the Node that runs this one, from the headers that come
 * with npm's `node`: `npm run drivers:native`. It is no part of the project's own installation, for it takes a compiler,
 * Python and libpq-dev.
 */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const here = import.meta.dirname;
/** Where npm's `node` has put what runs here: with its headers. */
function nodeFolder(): string {
  const ofNode = createRequire(
    createRequire(join(here, '../../../package.json')).resolve('node/package.json'),
  );
  return dirname(ofNode.resolve(`node-${process.platform}-${process.arch}/package.json`));
}

const nodedir = nodeFolder();
const run = (file: string, args: readonly string[], cwd: string): void => {
  // The environment counts more than an option: npm has there what its own configuration says.
  execFileSync(file, args, { cwd, stdio: 'inherit', env: { ...process.env, npm_config_nodedir: nodedir } });
};

run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], here);
run(
  join(here, 'node_modules/.bin/node-gyp'),
  ['rebuild', `--nodedir=${nodedir}`],
  join(here, 'node_modules/libpq'),
);
// What was compiled for another Node does not load.
run(process.execPath, ['-e', "require('pg').native"], here);
