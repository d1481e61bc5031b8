#!/usr/bin/env node
// The executable's first file, and the only one that older releases of Node ever see: no static imports, and no
// syntax that they could not read.

// RELOAD, RESUME and PAUSE must not end a daemon that is only starting, and Node opens a debugger port on SIGUSR1 as long
// as nobody listens to it. These listeners stay for good, so that there is no gap before the daemon's own.
for (const signal of ['SIGHUP', 'SIGUSR2', 'SIGUSR1'] as const) process.on(signal, () => {});

/** The range of package.json's `engines`. */
const FIRST_MAJOR = 26;
const LAST_MAJOR = 26;

const major = Number(process.versions.node.split('.')[0]);
if (major < FIRST_MAJOR || major > LAST_MAJOR) {
  process.stderr.write(`pgweir needs Node.js ${FIRST_MAJOR}.x, this is ${process.versions.node}\n`);
  process.exit(1);
}

import('./main.ts')
  .then(({ main }) => main(process.argv.slice(2)))
  .then(
    (exitCode) => process.exit(exitCode),
    (error) => {
      process.stderr.write(`pgweir: ${error instanceof Error ? error.stack : String(error)}\n`);
      process.exit(1);
    },
  );
