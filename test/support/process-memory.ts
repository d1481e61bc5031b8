import { readdirSync, readFileSync } from 'node:fs';
import { Inspector } from './inspector.ts';

/** What a process holds, in bytes, and how many descriptors. */
export interface MemoryUse {
  /** Of V8's heap, behind a whole collection. */
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

  private constructor(pid: number, inspector: Inspector) {
    this.#pid = pid;
    this.#inspector = inspector;
  }

  /** `stderr` gives what the process has written there. */
  static async of(pid: number, stderr: () => string): Promise<ProcessMemory> {
    return new ProcessMemory(pid, await Inspector.of(stderr));
  }

  /** Collects garbage and tells what is left. The connection for it is part of that, always the same. */
  async use(): Promise<MemoryUse> {
    // What the first one has let go of may hold more by finalizers, such as sockets and TLS sessions.
    await this.#inspector.ask('HeapProfiler.collectGarbage');
    await this.#inspector.ask('HeapProfiler.collectGarbage');
    const answer = (await this.#inspector.ask('Runtime.evaluate', {
      expression: READ_USAGE,
      returnByValue: true,
    })) as { result: { value: { heapUsed: number; external: number } } };
    const { heapUsed, external } = answer.result.value;
    const status = readFileSync(`/proc/${this.#pid}/status`, 'latin1');
    return {
      heapBytes: heapUsed,
      externalBytes: external,
      residentBytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024,
      descriptors: this.descriptors,
    };
  }

  /** Open descriptors now. */
  get descriptors(): number {
    return readdirSync(`/proc/${this.#pid}/fd`).length;
  }

  [Symbol.dispose](): void {
    this.#inspector[Symbol.dispose]();
  }
}
