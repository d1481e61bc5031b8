/**
 * `npm start`: a new PostgreSQL with the pooler in front of it, until Ctrl-C. `npm start -- my.ini`: only the
 * pooler, on that file. The variable PGWEIR_PORT chooses the port of the former in place of 6432.
 */
import { extname, join } from 'node:path';
import { runDemo, StopRequest } from './start/demo.ts';

// Node opens a debugger port on SIGUSR1, which means PAUSE to us, as long as nobody listens to it.
process.on('SIGUSR1', () => {});

const DEFAULT_PORT = 6432;

/** The program as a user runs it: .ts in the sources, .js once built. */
const bin = join(import.meta.dirname, `bin${extname(import.meta.filename)}`);

async function demo(): Promise<number> {
  const asked = process.env['PGWEIR_PORT'] ?? '';
  const port = asked === '' ? DEFAULT_PORT : Number(asked);
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    console.error(`PGWEIR_PORT=${asked} is no port`);
    return 1;
  }
  const stop = new StopRequest();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.ask());
  return runDemo({
    port,
    pooler: [process.execPath, bin],
    print: (text) => console.log(text),
    log: (text) => process.stderr.write(text),
    stop,
  });
}

const ownArguments = process.argv.slice(2);
if (ownArguments.length === 0) {
  try {
    process.exitCode = await demo();
  } catch (error) {
    console.error(`npm start: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
} else {
  // npm changes into the project's folder; a relative path is meant from where the user is.
  const userFolder = process.env['INIT_CWD'];
  if (process.env['npm_lifecycle_event'] === 'start' && userFolder !== undefined) process.chdir(userFolder);
  process.env['PGWEIR_ALLOW_ROOT'] ??= '1';
  // The program reads its arguments behind the script's own path, so they are right as they stand.
  await import('./bin.ts');
}
