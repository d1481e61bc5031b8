import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { extname, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Program, ProgramEnd, SupervisorReport, SupervisorRequest } from './supervisor-messages.ts';

/** A program that is running, or was. */
export interface Run {
  readonly pid: number;
  /** Settles when the program has ended; never rejects. */
  readonly ended: Promise<ProgramEnd>;
}

/**
 * Runs one program at a time through a supervisor process, so that the program is out of the terminal's
 * reach and ends soon after we do, however we end. `close` must be called by whoever opened it.
 */
export class Supervised {
  readonly #supervisor: ChildProcess;
  readonly #exited: Promise<unknown>;

  private constructor(supervisor: ChildProcess) {
    this.#supervisor = supervisor;
    this.#exited = once(supervisor, 'exit');
  }

  /** Starts the supervisor. It removes `folder`, if given, when it ends; its standard error is `stderr`. */
  static async open(options: { folder?: string; pipeStderr?: boolean } = {}): Promise<Supervised> {
    // The neighbour is a .ts file in the sources and a .js file once built.
    const script = join(import.meta.dirname, `supervisor${extname(import.meta.filename)}`);
    const args = options.folder === undefined ? [script] : [script, options.folder];
    const supervisor = spawn(process.execPath, args, {
      detached: true,
      cwd: '/',
      stdio: ['ignore', 'inherit', options.pipeStderr === true ? 'pipe' : 'inherit', 'ipc'],
    });
    const supervised = new Supervised(supervisor);
    await supervised.#next('up');
    return supervised;
  }

  /** Standard error of the supervisor and of a program without log file, when piped. */
  get stderr(): Readable | null {
    return this.#supervisor.stderr;
  }

  /** Starts a program; rejects when it cannot be started. The one before must have ended. */
  async run(program: Program): Promise<Run> {
    // After `close` nobody is left to say how the program ended.
    const ended = this.#next('ended').catch(
      (): ProgramEnd => ({ code: null, signal: null, error: 'ended together with its supervisor' }),
    );
    const started = this.#next('started');
    this.#send({ kind: 'run', program });
    const first = await Promise.race([started, ended]);
    if (!('pid' in first))
      throw new Error(`cannot run ${program.command}: ${first.error ?? 'it ended at once'}`);
    return { pid: first.pid, ended };
  }

  /** Sends the running program a signal; nothing happens when none is running. */
  signal(signal: NodeJS.Signals): void {
    this.#send({ kind: 'signal', signal });
  }

  /** Ends the program if it still runs (at once), removes the folder, and waits for that. */
  async close(): Promise<void> {
    if (this.#supervisor.connected) this.#supervisor.disconnect();
    await this.#exited;
  }

  #send(request: SupervisorRequest): void {
    if (this.#supervisor.connected) this.#supervisor.send(request);
  }

  #next<K extends SupervisorReport['kind']>(kind: K): Promise<Extract<SupervisorReport, { kind: K }>> {
    return new Promise((resolve, reject) => {
      const supervisor = this.#supervisor;
      const settle = (): void => {
        supervisor.off('message', onMessage);
        supervisor.off('exit', onExit);
      };
      const onMessage = (report: SupervisorReport): void => {
        if (!isKind(report, kind)) return;
        settle();
        resolve(report);
      };
      const onExit = (): void => {
        settle();
        reject(new Error(`the supervisor process ended while "${kind}" was awaited`));
      };
      supervisor.on('message', onMessage);
      supervisor.on('exit', onExit);
    });
  }
}

function isKind<K extends SupervisorReport['kind']>(
  report: SupervisorReport,
  kind: K,
): report is Extract<SupervisorReport, { kind: K }> {
  return report.kind === kind;
}
