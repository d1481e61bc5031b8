import { spawn, type ChildProcess } from 'node:child_process';

/** An operating system account to run a program under; both fields absent means our own. */
export interface RunAs {
  readonly uid?: number;
  readonly gid?: number;
}

export interface ChildOptions {
  readonly runAs?: RunAs;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** How a child ended, and the last part of what it wrote to either stream, for error messages. */
export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
}

/** A started program: its end can be awaited, and `stop` bounds how long that takes. */
export interface Child {
  readonly pid: number;
  readonly ended: Promise<ChildEnd>;
  /** What it wrote so far (the last 16 KiB). */
  output(): string;
  /** Sends `signal` and, after `graceMs`, SIGKILL. Resolves when the process is gone. */
  stop(signal: NodeJS.Signals, graceMs: number): Promise<ChildEnd>;
}

const keptOutput = 16 * 1024;

/**
 * The programs that the benchmark runs. It knows each of them from start to end, so that none outlives it however
 * it ends.
 */
export class Children {
  readonly #running = new Set<Child>();
  #closed = false;

  /**
   * Starts a program in a process group of its own: Ctrl-C reaches the benchmark alone, which then ends its children
   * in order, by process ID.
   *
   * Errors: rejects when the program cannot be started, and always after `stopAll`.
   */
  async start(program: string, args: readonly string[], options: ChildOptions = {}): Promise<Child> {
    if (this.#closed) throw new Error('the benchmark is ending');
    const spawned = spawn(program, args, {
      ...options.runAs,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const failed = new Promise<never>((_, reject) => spawned.once('error', reject));
    if (spawned.pid === undefined) return failed;
    const child = watch(spawned, spawned.pid);
    // Without a gap between start and entry: a signal may arrive at any await.
    this.#running.add(child);
    void child.ended.then(() => this.#running.delete(child));
    // An error later on (a signal that cannot be sent) shows in `ended` not coming; it must not end the benchmark.
    failed.catch(() => {});
    return child;
  }

  /** Runs a program to its end. Errors: rejects with its output when it fails or takes longer than `deadlineMs`. */
  async run(
    program: string,
    args: readonly string[],
    deadlineMs: number,
    options: ChildOptions = {},
  ): Promise<ChildEnd> {
    const child = await this.start(program, args, options);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      void child.stop('SIGTERM', 2000);
    }, deadlineMs);
    const end = await child.ended.finally(() => clearTimeout(timer));
    if (late) throw new Error(`${program} took longer than ${deadlineMs / 1000} s: ${end.output.trim()}`);
    if (end.code !== 0)
      throw new Error(`${program} ended with ${end.code ?? end.signal}: ${end.output.trim()}`);
    return end;
  }

  /** Ends everything, the latest first; nothing can be started afterwards. */
  async stopAll(): Promise<void> {
    this.#closed = true;
    // SIGQUIT is the immediate end in PostgreSQL, PgBouncer and pgweir alike.
    for (const child of [...this.#running].reverse()) await child.stop('SIGQUIT', 5000);
  }
}

/** What a program complained of, in one line: the first error that it names; else the last thing it said. */
export function complaint(output: string): string {
  const lines = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  return lines.find((line) => /error|fatal/i.test(line)) ?? lines.at(-1) ?? 'it said nothing';
}

function watch(spawned: ChildProcess, pid: number): Child {
  let output = '';
  const keep = (text: string) => {
    output = (output + text).slice(-keptOutput);
  };
  spawned.stdout?.setEncoding('utf8').on('data', keep);
  spawned.stderr?.setEncoding('utf8').on('data', keep);
  const ended = new Promise<ChildEnd>((resolve) => {
    spawned.once('close', (code, signal) => resolve({ code, signal, output }));
  });
  const stop = async (signal: NodeJS.Signals, graceMs: number) => {
    spawned.kill(signal);
    const timer = setTimeout(() => spawned.kill('SIGKILL'), graceMs);
    try {
      return await ended;
    } finally {
      clearTimeout(timer);
    }
  };
  return { pid, ended, output: () => output, stop };
}
