import { readdirSync, readFileSync } from 'node:fs';
import { Inspector } from './inspector.ts';
import { workersOfTests } from './pooler-config.ts';

/** What a process holds, in bytes, and how many descriptors. */
export interface MemoryUse {
  /** Of V8's heaps, one for each thread, behind a whole collection. */
  readonly heapBytes: number;
  /** Outside the heap and held by objects on it, buffers included. */
  readonly externalBytes: number;
  readonly residentBytes: number;
  readonly descriptors: number;
}

const READ_USAGE = 'process.memoryUsage()';

/** Asks a running process of Node, started with `INSPECTED`, about its memory. Linux alone. */
export class ProcessMemory implements Disposable {
  readonly #pid: number;
  readonly #inspector: Inspector;
  /** That run JavaScript beside the main one. */
  readonly #threads: number;

  private constructor(pid: number, inspector: Inspector, threads: number) {
    this.#pid = pid;
    this.#inspector = inspector;
    this.#threads = threads;
  }

  /** `stderr` gives what the process has written there. It has as many threads that serve clients as the run's poolers. */
  static async of(pid: number, stderr: () => string): Promise<ProcessMemory> {
    const workers = workersOfTests();
    return new ProcessMemory(pid, await Inspector.of(stderr), workers === 1 ? 0 : workers);
  }

  /** Collects garbage and tells what is left. The connection for it is part of that, always the same. */
  async use(): Promise<MemoryUse> {
    // What the first one has let go of may hold more by finalizers, such as sockets and TLS sessions.
    await this.#askAll('HeapProfiler.collectGarbage');
    await this.#askAll('HeapProfiler.collectGarbage');
    const answers = (await this.#askAll('Runtime.evaluate', {
      expression: READ_USAGE,
      returnByValue: true,
    })) as { result: { value: { heapUsed: number; external: number } } }[];
    const sum = (what: 'heapUsed' | 'external') =>
      answers.reduce((total, { result }) => total + result.value[what], 0);
    const status = readFileSync(`/proc/${this.#pid}/status`, 'latin1');
    return {
      heapBytes: sum('heapUsed'),
      externalBytes: sum('external'),
      residentBytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024,
      descriptors: this.descriptors,
    };
  }

  async #askAll(method: string, params: object = {}): Promise<unknown[]> {
    const own = await this.#inspector.ask(method, params);
    return [
      own,
      ...(this.#threads === 0 ? [] : await this.#inspector.askThreads(this.#threads, method, params)),
    ];
  }

  /** Open descriptors now. */
  get descriptors(): number {
    return readdirSync(`/proc/${this.#pid}/fd`).length;
  }

  [Symbol.dispose](): void {
    this.#inspector[Symbol.dispose]();
  }
}
