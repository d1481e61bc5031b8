/**
 * A process of its own that runs one program at a time for an owner and outlives it just long enough to end
 * that program: the channel to the owner closes however the owner dies, SIGKILL included. It runs in a session
 * of its own, out of reach of the terminal's Ctrl-C. Argument: a folder to remove at the end, or nothing.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, rmSync } from 'node:fs';
import type { Program, ProgramEnd, SupervisorReport, SupervisorRequest } from './supervisor-messages.ts';

/** How long a program gets to end after SIGQUIT, which is the fast end of PostgreSQL and of the pooler. */
const QUIT_DEADLINE_MS = 5000;

const folder = process.argv[2];
let child: ChildProcess | null = null;
let ending = false;

function report(message: SupervisorReport): void {
  // The owner may vanish at any moment; `disconnect` below is how we learn of it.
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}

function run(program: Program): void {
  const log = program.logPath === null ? null : openSync(program.logPath, 'a');
  const started = spawn(program.command, [...program.args], {
    cwd: program.cwd,
    env: program.env,
    stdio: ['ignore', log ?? 'inherit', log ?? 'inherit'],
    ...(program.user ?? {}),
  });
  if (log !== null) closeSync(log);
  child = started;
  const ended = (end: ProgramEnd): void => {
    if (child !== started) return;
    child = null;
    report({ kind: 'ended', ...end });
    if (ending) finish();
  };
  started.once('error', (error) => ended({ code: null, signal: null, error: error.message }));
  started.once('exit', (code, signal) => ended({ code, signal, error: null }));
  if (started.pid !== undefined) report({ kind: 'started', pid: started.pid });
}

function end(): void {
  if (ending) return;
  ending = true;
  if (child === null) {
    finish();
    return;
  }
  child.kill('SIGQUIT');
  setTimeout(() => child?.kill('SIGKILL'), QUIT_DEADLINE_MS);
}

function finish(): void {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  process.exit(0);
}

process.on('disconnect', end);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
process.on('message', (request: SupervisorRequest) => {
  if (ending) return;
  if (request.kind === 'run') run(request.program);
  else child?.kill(request.signal);
});
report({ kind: 'up' });
