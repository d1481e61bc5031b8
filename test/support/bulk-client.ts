import { connect, type Socket } from 'node:net';
import { errorFields, frontend } from './peer-messages.ts';
import { within } from './wait-for.ts';

/** Bytes of one kind, as they are sent and expected. */
const CHUNK_BYTES = 1024 * 1024;

/** A message that begins with more than this is expected to be nothing but filling behind that. Bytes. */
const HEAD_BYTES = 64;

/**
 * A client for answers and requests that are too large to be kept: it looks at each byte that comes and forgets it.
 * Messages of more than {@link HEAD_BYTES} must consist of `filling` behind those.
 */
export class BulkClient implements Disposable {
  readonly #socket: Socket;
  readonly #filling: Buffer;
  /** Bodies' bytes so far, by message type. */
  readonly received = new Map<string, number>();
  /** What a message was that had something else in it; null: none. */
  fault: string | null = null;
  #readyCount = 0;
  #head = Buffer.alloc(0);
  #type = '';
  #left = 0;
  #isBig = false;
  #takenBytes = 0;
  /** Reading stops when so many bytes were taken. */
  #stopAt = Number.POSITIVE_INFINITY;
  #wake: () => void = () => {};
  #isOver = false;

  private constructor(socket: Socket, filling: string) {
    this.#socket = socket;
    this.#filling = Buffer.alloc(CHUNK_BYTES, filling);
    socket.on('data', (chunk: Buffer) => {
      this.#take(chunk);
      this.#takenBytes += chunk.length;
      if (this.#takenBytes >= this.#stopAt) socket.pause();
      this.#wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#isOver = true;
      this.#wake();
    });
  }

  /** Logs in without a password to a TCP port of 127.0.0.1. */
  static async connect(
    port: number,
    parameters: Readonly<Record<string, string>>,
    filling = 'x',
  ): Promise<BulkClient> {
    const client = new BulkClient(connect({ port, host: '127.0.0.1' }), filling);
    client.#socket.write(frontend.startup(parameters));
    await client.ready(1);
    return client;
  }

  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** Takes no more than about `bytes` from now on. */
  stopAfter(bytes: number): void {
    this.#stopAt = this.#takenBytes + bytes;
    this.#socket.resume();
  }

  /** Takes all that comes. */
  goOn(): void {
    this.#stopAt = Number.POSITIVE_INFINITY;
    this.#socket.resume();
  }

  /** Waits until it has stopped as {@link stopAfter} has said, or ReadyForQuery has come. */
  async stopped(deadlineMs: number): Promise<void> {
    await this.#until(() => this.#socket.isPaused(), 'so many bytes', deadlineMs);
  }

  /** Waits for the `count`th ReadyForQuery since the beginning. */
  async ready(count: number, deadlineMs = 10_000): Promise<void> {
    await this.#until(() => this.#readyCount >= count || this.fault !== null, 'ReadyForQuery', deadlineMs);
    if (this.fault !== null) throw new Error(this.fault);
  }

  /** Sends; settles when the socket wants more. Throws when it is closed. */
  async send(bytes: Buffer): Promise<void> {
    if (this.#isOver) throw new Error('the connection is closed');
    if (this.#socket.write(bytes)) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#socket.off('drain', done);
        this.#socket.off('close', done);
        resolve();
      };
      this.#socket.on('drain', done);
      this.#socket.on('close', done);
    });
  }

  /** Sends so many bytes of the filling. */
  async sendFilling(bytes: number): Promise<void> {
    for (let left = bytes; left > 0 && !this.#isOver; left -= CHUNK_BYTES) {
      await this.send(left < CHUNK_BYTES ? this.#filling.subarray(0, left) : this.#filling);
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    let pos = 0;
    while (pos < chunk.length) {
      if (this.#left === 0) {
        const missing = Math.min(5 - this.#head.length, chunk.length - pos);
        this.#head = Buffer.concat([this.#head, chunk.subarray(pos, pos + missing)]);
        pos += missing;
        if (this.#head.length < 5) return;
        this.#type = this.#head.toString('latin1', 0, 1);
        this.#left = this.#head.readInt32BE(1) - 4;
        this.#isBig = this.#left > HEAD_BYTES;
        this.#head = Buffer.alloc(0);
        if (this.#left === 0) this.#ended();
        continue;
      }
      const stop = Math.min(chunk.length, pos + this.#left);
      this.#body(chunk.subarray(pos, stop));
      this.#left -= stop - pos;
      pos = stop;
      if (this.#left === 0) this.#ended();
    }
  }

  #body(part: Buffer): void {
    this.received.set(this.#type, (this.received.get(this.#type) ?? 0) + part.length);
    const headLeft = this.#isBig && this.#type !== 'E' ? HEAD_BYTES - this.#head.length : this.#left;
    this.#head = headLeft > 0 ? Buffer.concat([this.#head, part.subarray(0, headLeft)]) : this.#head;
    for (let pos = Math.max(0, headLeft); pos < part.length; pos += CHUNK_BYTES) {
      const stop = Math.min(part.length, pos + CHUNK_BYTES);
      // A line of COPY ends in a line feed.
      const end = this.#type === 'd' && stop === part.length && part.length === this.#left ? stop - 1 : stop;
      if (!part.subarray(pos, end).equals(this.#filling.subarray(0, end - pos))) {
        this.fault ??= `message ${this.#type} with other bytes in it`;
      }
    }
  }

  #ended(): void {
    if (this.#type === 'Z') this.#readyCount++;
    if (this.#type === 'E') this.fault ??= JSON.stringify(errorFields(this.#head));
    this.#head = Buffer.alloc(0);
  }

  async #until(condition: () => boolean, what: string, deadlineMs: number): Promise<void> {
    const arrived = async (): Promise<void> => {
      while (!condition()) {
        if (this.#isOver) throw new Error(`the other side closed before ${what}`);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    };
    await within(arrived(), `${what} from the peer`, deadlineMs);
  }
}
