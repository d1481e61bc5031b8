import { readdirSync, readFileSync } from 'node:fs';
import { waitFor, within } from './wait-for.ts';

/** What a process holds, in bytes, and how many descriptors. */
export interface MemoryUse {
  /** Of V8's heap, behind a whole collection. */
  readonly heapBytes: number;
  /** Outside the heap and held by objects on it, buffers included. */
  readonly externalBytes: number;
  readonly residentBytes: number;
  readonly descriptors: number;
}

/** Node's option with which a process tells of its memory; the port is a free one. */
export const INSPECTED = '--inspect=127.0.0.1:0';

const READ_USAGE = 'process.memoryUsage()';

/**
 * Asks a running process of Node, started with {@link INSPECTED}, about its memory, by the protocol of its inspector:
 * nothing in the program itself serves it. Linux alone.
 */
export class ProcessMemory implements Disposable {
  readonly #pid: number;
  readonly #socket: WebSocket;
  readonly #answers = new Map<number, (result: unknown) => void>();
  #lastId = 0;

  private constructor(pid: number, socket: WebSocket) {
    this.#pid = pid;
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const { id, result } = JSON.parse(String(data)) as { id?: number; result?: unknown };
      if (id === undefined) return;
      this.#answers.get(id)?.(result);
      this.#answers.delete(id);
    });
  }

  /** `stderr` gives what the process has written there, where Node says how its inspector is reached. */
  static async of(pid: number, stderr: () => string): Promise<ProcessMemory> {
    const url = await waitFor(() => /Debugger listening on (ws:\S+)/.exec(stderr())?.[1], {
      what: 'the address of the inspector',
    });
    const socket = new WebSocket(url);
    await within(
      new Promise<void>((resolve, reject) => {
        socket.addEventListener('open', () => resolve());
        socket.addEventListener('error', () => reject(new Error(`no inspector at ${url}`)));
      }),
      'the inspector',
    );
    return new ProcessMemory(pid, socket);
  }

  /** Collects garbage and tells what is left. The connection for it is part of that, always the same. */
  async use(): Promise<MemoryUse> {
    // What the first one has let go of may hold more by finalizers, such as sockets and TLS sessions.
    await this.#ask('HeapProfiler.collectGarbage');
    await this.#ask('HeapProfiler.collectGarbage');
    const answer = (await this.#ask('Runtime.evaluate', {
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
    this.#socket.close();
  }

  #ask(method: string, params: object = {}): Promise<unknown> {
    const id = ++this.#lastId;
    const answer = new Promise<unknown>((resolve) => this.#answers.set(id, resolve));
    this.#socket.send(JSON.stringify({ id, method, params }));
    return within(answer, `the inspector’s answer to ${method}`, 60_000);
  }
}
