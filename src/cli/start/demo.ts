import { createServer } from 'node:net';
import type { Readable } from 'node:stream';
import { demoText, writeDemoConfig } from './demo-config.ts';
import { Postgres } from './postgres.ts';
import { makeFolder } from './postgres-folder.ts';
import { type Run, Supervised } from './supervised.ts';

/** What `runDemo` needs from outside. */
export interface DemoOptions {
  /** The port of the pooler on 127.0.0.1. */
  readonly port: number;
  /** Program and arguments of the pooler, ahead of the path of its configuration. */
  readonly pooler: readonly [string, ...string[]];
  readonly print: (text: string) => void;
  /** Where the pooler's log goes. */
  readonly log: (text: string) => void;
  readonly stop: StopRequest;
}

/** npm passes on to us the Ctrl-C that the terminal has given us already; nobody's second one is that quick. */
const ECHO_MS = 250;

/** The wish to end, as told by signals: the first asks politely, the second is in a hurry. */
export class StopRequest {
  readonly #nowMs: () => number;
  #lastMs = Number.NEGATIVE_INFINITY;
  #count = 0;
  #listener: (() => void) | null = null;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** How often it was asked. */
  get count(): number {
    return this.#count;
  }

  ask(): void {
    const nowMs = this.#nowMs();
    const isEcho = nowMs - this.#lastMs < ECHO_MS;
    this.#lastMs = nowMs;
    if (isEcho) return;
    this.#count++;
    this.#listener?.();
  }

  /** Calls the listener (the only one) at each further `ask`, and at once when it was asked before. */
  listen(listener: () => void): void {
    this.#listener = listener;
    if (this.#count > 0) listener();
  }
}

const UP_DEADLINE_MS = 30_000;
/** How long running transactions may take to end after the first request to stop. */
const TRANSACTIONS_DEADLINE_MS = 5000;

/**
 * Runs a new PostgreSQL and the pooler in front of it until asked to stop or one of them ends. Resolves with
 * the exit code: 0 when it was asked to, 1 when the port is taken or something failed; then it has said so.
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  const { port, print, stop } = options;
  if (!(await isFree(port))) {
    print(`port ${port} is taken: stop what listens there, or choose another port with PGWEIR_PORT`);
    return 1;
  }
  await using ending = new AsyncDisposableStack();
  print('starting PostgreSQL …');
  const postgres = ending.use(await Postgres.start({ superuser: 'pgweir' }));
  const folder = makeFolder(null, 'pgweir-');
  const pooler = await Supervised.open({ folder, pipeStderr: true });
  ending.defer(() => pooler.close());
  if (stop.count > 0) return 0;

  const iniPath = writeDemoConfig(folder, postgres.address, port);
  const [command, ...args] = options.pooler;
  const up = pooler.stderr === null ? Promise.resolve() : followLog(pooler.stderr, options.log);
  const run = await pooler.run({
    command,
    args: [...args, iniPath],
    env: { ...process.env, PGWEIR_ALLOW_ROOT: '1' },
    cwd: folder,
    user: null,
    logPath: null,
  });
  stop.listen(() => askPooler(pooler, run, stop.count));
  const first = await firstOf(up, run);
  if (first === 'up' && stop.count === 0) print(demoText(iniPath, postgres.address, port));
  if (first === 'late') print(`the pooler did not come up within ${UP_DEADLINE_MS / 1000} s`);
  const ended =
    first === 'late'
      ? first
      : await Promise.race([
          run.ended.then(() => 'the pooler' as const),
          postgres.ended().then(() => 'PostgreSQL' as const),
        ]);
  if (stop.count === 0) {
    if (ended !== 'late') print(`${ended} ended by itself`);
    return 1;
  }
  return 0;
}

/** Passes the log on; settles when the pooler has said that it is up. */
function followLog(stderr: Readable, log: (text: string) => void): Promise<void> {
  return new Promise((resolve) => {
    let last = '';
    stderr.setEncoding('utf8');
    stderr.on('data', (text: string) => {
      log(text);
      last = (last + text).slice(-4096);
      if (last.includes('process up')) resolve();
    });
  });
}

async function firstOf(up: Promise<void>, run: Run): Promise<'up' | 'ended' | 'late'> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), UP_DEADLINE_MS);
  });
  const first = await Promise.race([
    up.then(() => 'up' as const),
    run.ended.then(() => 'ended' as const),
    late,
  ]);
  clearTimeout(timer);
  return first;
}

/** SIGINT lets running transactions end, which an idle one in psql never does; SIGQUIT ends at once. */
function askPooler(pooler: Supervised, run: Run, count: number): void {
  if (count > 1) {
    pooler.signal('SIGQUIT');
    return;
  }
  pooler.signal('SIGINT');
  const deadline = setTimeout(() => pooler.signal('SIGQUIT'), TRANSACTIONS_DEADLINE_MS);
  void run.ended.then(() => clearTimeout(deadline));
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
