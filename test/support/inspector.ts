import { waitFor, within } from './wait-for.ts';

/** Node's option with which a process can be asked and told things by {@link Inspector}; the port is a free one. */
export const INSPECTED = '--inspect=127.0.0.1:0';

/**
 * Speaks with a running process of Node, started with {@link INSPECTED}, by the protocol of its inspector: nothing in the
 * program itself serves it.
 */
export class Inspector implements Disposable {
  readonly #socket: WebSocket;
  readonly #answers = new Map<number, (result: unknown) => void>();
  /** Sessions of its threads, by their names. */
  readonly #threads = new Map<string, string>();
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => this.#hear(String(data)));
  }

  #hear(data: string): void {
    const { id, result, method, params } = JSON.parse(data) as {
      id?: number;
      result?: unknown;
      method?: string;
      params?: { sessionId: string; workerInfo: { title: string }; message: string };
    };
    if (method === 'NodeWorker.attachedToWorker' && params !== undefined)
      this.#threads.set(params.workerInfo.title, params.sessionId);
    // A thread's answer comes in an envelope; ids are of all of them.
    if (method === 'NodeWorker.receivedMessageFromWorker' && params !== undefined) this.#hear(params.message);
    if (id === undefined) return;
    this.#answers.get(id)?.(result);
    this.#answers.delete(id);
  }

  /** `stderr` gives what the process has written there, where Node says how its inspector is reached. */
  static async of(stderr: () => string): Promise<Inspector> {
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
    return new Inspector(socket);
  }

  /** Asks the main thread. */
  ask(method: string, params: object = {}): Promise<unknown> {
    const id = ++this.#lastId;
    const answer = new Promise<unknown>((resolve) => this.#answers.set(id, resolve));
    this.#socket.send(JSON.stringify({ id, method, params }));
    return within(answer, `the inspector’s answer to ${method}`, 60_000);
  }

  /** Waits for so many milliseconds on the clock of the main thread's event loop: timers that are due earlier run first. */
  async turns(ms: number): Promise<void> {
    const expression = `new Promise((resolve) => setTimeout(resolve, ${ms}))`;
    await this.ask('Runtime.evaluate', { expression, awaitPromise: true });
  }

  /**
   * Has a thread beside the main one, whose name contains this, evaluate something, and lets go of it: a thread that is
   * watched does not end.
   */
  async tellThread(name: string, expression: string): Promise<void> {
    this.#threads.clear();
    await this.ask('NodeWorker.enable', { waitForDebuggerOnStart: false });
    const sessionId = await waitFor(() => [...this.#threads].find(([title]) => title.includes(name))?.[1], {
      what: `the thread ${name}, which is not one of ${[...this.#threads.keys()].join()}`,
    });
    const message = JSON.stringify({
      id: ++this.#lastId,
      method: 'Runtime.evaluate',
      params: { expression },
    });
    await this.ask('NodeWorker.sendMessageToWorker', { sessionId, message });
    await this.ask('NodeWorker.disable');
    this.#threads.clear();
  }

  /** Asks each of so many threads beside the main one. They are watched from then on, and do not end. */
  async askThreads(count: number, method: string, params: object = {}): Promise<unknown[]> {
    if (this.#threads.size === 0) await this.ask('NodeWorker.enable', { waitForDebuggerOnStart: false });
    await waitFor(() => this.#threads.size === count, { what: `${count} threads beside the main one` });
    const answers = [...this.#threads.values()].map(async (sessionId) => {
      const id = ++this.#lastId;
      const answer = new Promise<unknown>((resolve) => this.#answers.set(id, resolve));
      const message = JSON.stringify({ id, method, params });
      await this.ask('NodeWorker.sendMessageToWorker', { sessionId, message });
      return within(answer, `a thread’s answer to ${method}`, 60_000);
    });
    return Promise.all(answers);
  }

  /** Has a thread run this from its event loop, with `fs` at hand. */
  run(thread: string, script: string): Promise<void> {
    const expression = `setImmediate(() => { const fs = process.getBuiltinModule('node:fs'); ${script} })`;
    return this.tellThread(thread, expression);
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}
