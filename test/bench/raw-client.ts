import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { errorFields, frontend } from '../support/peer-messages.ts';
import type { Target } from './load.ts';

/** Reads go into one buffer, which is looked at and overwritten: small where not much is read. Bytes. */
const smallBuffer = 1024;
export const bulkBuffer = 256 * 1024;

/** One CopyData message of what is sent by COPY; made once, and never changed while it is being written. */
const rowBytes = 1000;
const rowsPerMessage = 64;

const readyForQuery = Buffer.from('Z\0\0\0\x05I', 'latin1');

const deadlineMs = 20_000;

/**
 * A client that costs next to nothing beside what it measures: it reads into one buffer, counts, and looks at nothing
 * but the end of what came. One request at a time; answers must end in no other bytes than ReadyForQuery's.
 */
export class RawClient {
  /** Received from or sent to the server since the login. */
  bytes = 0;
  readonly #socket: Socket;
  #isDone: () => void = () => {};
  #hasFailed: (error: Error) => void = () => {};
  /** The last bytes of the answer so far. */
  readonly #tail = Buffer.alloc(readyForQuery.length);
  /** Its first bytes, for an error that it may be. */
  #head = Buffer.alloc(0);
  /** First bytes of an answer that is looked for while it goes on: CopyInResponse. */
  #awaited = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', (error) => this.#hasFailed(error));
    socket.on('close', () => this.#hasFailed(new Error('the connection was closed')));
  }

  /**
   * Logs in by trust. Over TLS data goes through Node's streams, which cost more: for clients that stay idle.
   *
   * Errors: rejects with what the server said, or after 20 s.
   */
  static async connect(target: Target, bufferBytes = smallBuffer): Promise<RawClient> {
    const { host, port, user, database, tls } = target;
    const buffer = Buffer.allocUnsafe(tls ? 0 : bufferBytes);
    let client: RawClient | null = null;
    const socket = tls
      ? connectTcp({ host, port })
      : connectTcp({
          host,
          port,
          noDelay: true,
          onread: {
            buffer,
            callback: (count) => {
              client?.take(buffer.subarray(0, count));
              return true;
            },
          },
        });
    const stream = tls ? await encrypt(socket) : socket;
    const made = new RawClient(stream);
    client = made;
    if (tls) stream.on('data', (chunk: Buffer) => made.take(chunk));
    try {
      await made.#answer(() => stream.write(frontend.startup({ user, database })));
    } catch (error) {
      made.end();
      throw error;
    }
    made.bytes = 0;
    return made;
  }

  /** Nobody has closed the connection. */
  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  /** Sends a query and gives the bytes of its answer. Errors: rejects with what the server said, or after 20 s. */
  async query(sql: string): Promise<number> {
    const before = this.bytes;
    await this.#answer(() => this.#socket.write(frontend.query(sql)));
    return this.bytes - before;
  }

  /** `COPY … FROM STDIN` of lines of `x`, `total` bytes of them. Gives the bytes sent. Errors: as {@link query}. */
  async copyIn(sql: string, total: number): Promise<number> {
    const before = this.bytes;
    this.#awaited = 'G'.charCodeAt(0);
    await this.#answer(() => this.#socket.write(frontend.query(sql)));
    await this.#answer(() => void this.#sendCopy(total));
    return this.bytes - before;
  }

  end(): void {
    this.#hasFailed = () => {};
    this.#socket.destroy();
  }

  /** Bytes have come; borrowed. */
  take(chunk: Buffer): void {
    this.bytes += chunk.length;
    if (this.#head.length < 1024) this.#head = Buffer.concat([this.#head, chunk.subarray(0, 1024)]);
    const { length } = readyForQuery;
    if (chunk.length >= length) chunk.copy(this.#tail, 0, chunk.length - length);
    else {
      this.#tail.copy(this.#tail, 0, chunk.length);
      chunk.copy(this.#tail, length - chunk.length);
    }
    if (asksForPassword(this.#head)) this.#hasFailed(new Error('it asks for a password'));
    if (this.#awaited !== 0 && this.#head[0] === this.#awaited) this.#isDone();
    else if (this.#tail.equals(readyForQuery)) this.#isDone();
  }

  async #answer(send: () => void): Promise<void> {
    this.#head = Buffer.alloc(0);
    this.#tail.fill(0);
    const timer = setTimeout(() => this.#hasFailed(new Error('no answer within 20 s')), deadlineMs);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#isDone = resolve;
        this.#hasFailed = (error) => reject(this.#said() ?? error);
        send();
      });
    } finally {
      clearTimeout(timer);
      this.#isDone = () => {};
      this.#hasFailed = () => {};
      this.#awaited = 0;
    }
    const said = this.#said();
    if (said !== null) throw said;
  }

  /** The error among the first messages of the answer. */
  #said(): Error | null {
    const head = this.#head;
    for (let pos = 0; pos + 5 <= head.length; pos += 1 + head.readUInt32BE(pos + 1)) {
      if (head[pos] !== 'E'.charCodeAt(0)) continue;
      const body = head.subarray(pos + 5, pos + 1 + head.readUInt32BE(pos + 1));
      return new Error(errorFields(body)['M'] ?? 'an error without a text');
    }
    return null;
  }

  async #sendCopy(total: number): Promise<void> {
    const line = `${'x'.repeat(rowBytes - 1)}\n`;
    const message = frontend.copyData(line.repeat(rowsPerMessage));
    for (let sent = 0; sent < total; sent += rowBytes * rowsPerMessage) {
      const hasRoom = this.#socket.write(message);
      this.bytes += message.length;
      if (!hasRoom) await new Promise((drained) => this.#socket.once('drain', drained));
      if (this.#socket.destroyed) return;
    }
    this.#socket.write(frontend.copyDone());
  }
}

/** An answer to a login begins with any Authentication message but AuthenticationOk. */
function asksForPassword(head: Buffer): boolean {
  return head.length >= 9 && head[0] === 'R'.charCodeAt(0) && head.readInt32BE(5) !== 0;
}

/** Asks for TLS on a connection that is being made, and goes over to it. Errors: rejects when that fails. */
function encrypt(socket: Socket): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(deadlineMs, () => failed(new Error('no TLS within 20 s')));
    socket.once('error', failed);
    socket.once('connect', () => socket.write(frontend.sslRequest()));
    socket.once('data', (answer: Buffer) => {
      if (answer.toString('latin1') !== 'S') return failed(new Error('TLS was refused'));
      const secure = connectTls({ socket, rejectUnauthorized: false });
      secure.once('error', failed);
      secure.once('secureConnect', () => {
        socket.setTimeout(0);
        secure.off('error', failed);
        resolve(secure);
      });
    });
  });
}
