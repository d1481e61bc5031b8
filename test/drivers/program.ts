import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { within } from '../support/wait-for.ts';

/** A request: what to do, and what with. */
export type Request = Readonly<Record<string, unknown>> & { readonly op: string };

/** What PostgreSQL or the driver has complained about; `code` is the SQLSTATE, null where there is none. */
export class DriverError extends Error {
  readonly code: string | null;

  constructor(code: string | null, message: string) {
    super(message);
    this.code = code;
  }
}

interface Reply {
  readonly lane: number;
  readonly value?: unknown;
  readonly error?: { readonly state: string | null; readonly message: string };
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** One connection of a program, which does one thing after the other. */
export class Lane {
  readonly #process: LaneProcess;
  readonly #number: number;

  constructor(process: LaneProcess, number: number) {
    this.#process = process;
    this.#number = number;
  }

  /** Has something done and gives what came of it; rejects with DriverError. */
  ask(request: Request): Promise<unknown> {
    return this.#process.ask(this.#number, request);
  }

  /** Tells it, while it is at work, to cancel that. */
  cancel(): void {
    this.#process.send(this.#number, { op: 'now' });
  }

  /** Closes the connection; a lane whose work does not end, which has failed its test then, is left alone. */
  async close(): Promise<void> {
    if (this.#process.isAtWork(this.#number)) return;
    try {
      await this.ask({ op: 'close' });
    } finally {
      this.#process.free(this.#number);
    }
  }
}

/** A process with lanes 0, 1, …: a JSON line each for requests on its input and replies on its output. */
class LaneProcess {
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  readonly #free: number[] = [];
  #lanes = 0;
  #complaints = '';

  constructor(command: readonly string[]) {
    const [file = '', ...args] = command;
    // Settings of the environment that libpq reads are none of the tests'.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG')));
    const child = spawn(file, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    child.stdin.on('error', () => {});
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaints += text;
    });
    createInterface({ input: child.stdout }).on('line', (line) => this.#settle(JSON.parse(line)));
    this.ended = new Promise((resolve) => {
      const end = (why: string) => {
        for (const { reject } of this.#waiting.values()) reject(new Error(`${why}\n${this.#complaints}`));
        this.#waiting.clear();
        resolve();
      };
      child.once('error', (error) => end(String(error)));
      child.once('close', (code, signal) => end(`${file} has ended: ${code ?? signal}`));
    });
  }

  /** Lanes that are in use. */
  get used(): number {
    return this.#lanes - this.#free.length;
  }

  take(): Lane {
    return new Lane(this, this.#free.pop() ?? this.#lanes++);
  }

  free(lane: number): void {
    this.#free.push(lane);
  }

  isAtWork(lane: number): boolean {
    return this.#waiting.has(lane);
  }

  ask(lane: number, request: Request): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(lane, { resolve, reject });
      this.send(lane, request);
    });
  }

  send(lane: number, request: Request): void {
    this.#child.stdin?.write(`${JSON.stringify({ lane, ...request })}\n`);
  }

  /** It ends at the end of its input; what it complained about on the way is shown. */
  async stop(): Promise<void> {
    this.#child.stdin?.end();
    try {
      await within(this.ended, 'the end of the program');
    } finally {
      this.#child.kill('SIGKILL');
      if (this.#complaints !== '') process.stderr.write(this.#complaints);
    }
  }

  #settle({ lane, value, error }: Reply): void {
    const waiting = this.#waiting.get(lane);
    if (waiting === undefined) throw new Error(`a reply that nobody waits for, on lane ${lane}`);
    this.#waiting.delete(lane);
    if (error === undefined) waiting.resolve(value);
    else waiting.reject(new DriverError(error.state, error.message));
  }
}

/** A running program; its processes are kept for the next connections. */
export class Program {
  readonly #command: readonly string[];
  readonly #processes: 'one' | 'each';
  readonly #running: LaneProcess[] = [];

  constructor(command: readonly string[], processes: 'one' | 'each') {
    this.#command = command;
    this.#processes = processes;
  }

  /** A lane without a connection yet. */
  lane(): Lane {
    const [first] = this.#running;
    let process = this.#processes === 'one' ? first : this.#running.find(({ used }) => used === 0);
    if (process === undefined) {
      process = new LaneProcess(this.#command);
      this.#running.push(process);
    }
    return process.take();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.map((process) => process.stop()));
  }
}
