import { spawn } from 'node:child_process';
import { extname, join } from 'node:path';
import type { Readable } from 'node:stream';

/** Tells the process that `-d` has started which descriptor leads to whoever started it. */
export const STARTUP_FD_VARIABLE = 'PGWEIR_STARTUP_FD';

const STARTUP_FD = 3;

/** Ends the report of a start that has succeeded; everything before it is text for people. */
export const STARTED = '\0';

/**
 * Runs the program once more with the same arguments, in a session of its own and with nothing to read from or
 * write to, and waits until it has either started or ended. What it says until then goes to `stderr`.
 *
 * @returns the exit code for us: 0 once it listens and its pidfile is written.
 */
export async function daemonize(argv: readonly string[], stderr: (text: string) => void): Promise<number> {
  const { LISTEN_PID, LISTEN_FDS = '0' } = process.env;
  if (LISTEN_PID === String(process.pid) && LISTEN_FDS !== '0') {
    // They are meant for this process, and the service manager watches over this one.
    stderr('pgweir: -d does not go together with sockets from the service manager\n');
    return 1;
  }
  // The neighbour is a .ts file in the sources and a .js file once built.
  const bin = join(import.meta.dirname, `bin${extname(import.meta.filename)}`);
  const child = spawn(process.execPath, [...process.execArgv, bin, ...argv], {
    detached: true,
    env: { ...process.env, [STARTUP_FD_VARIABLE]: String(STARTUP_FD) },
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  // It is out of the terminal's reach: whoever gives up waiting for it means it, too.
  const giveUp = (): void => void child.kill('SIGTERM');
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, giveUp);
  const exited = new Promise<{ code: number | null; text: string }>((resolve) => {
    child.once('error', (error) => resolve({ code: null, text: error.message }));
    child.once('exit', (code, signal) => resolve({ code, text: signal ?? `exit code ${code}` }));
  });
  let hasSpoken = false;
  const report = child.stdio[STARTUP_FD] as Readable;
  report.setEncoding('utf8');
  for await (const chunk of report as AsyncIterable<string>) {
    const isStarted = chunk.endsWith(STARTED);
    const text = isStarted ? chunk.slice(0, -STARTED.length) : chunk;
    hasSpoken ||= text !== '';
    stderr(text);
    if (!isStarted) continue;
    child.unref();
    return 0;
  }
  const { code, text } = await exited;
  if (!hasSpoken) stderr(`pgweir: the daemon ended while it was starting (${text})\n`);
  return code === null || code === 0 ? 1 : code;
}
