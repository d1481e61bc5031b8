import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeEach } from 'vitest';
import { Conn } from '../../src/net/conn.ts';
import type { ConnHandler } from '../../src/net/conn-handler.ts';
import { type Native, openNative } from '../../src/net/native.ts';
import type { IoBatch } from '../../src/net/native-batch.ts';
import type { EpollSet } from '../../src/net/native-io.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import { RawSocket } from '../../src/net/raw-socket.ts';
import { type Readiness, readinessOf } from '../../src/net/readiness.ts';
import { waitFor } from '../support/wait-for.ts';

/** A real set of which nobody hears until the test says so: what is ready then, in the order that it says. */
class HeldSet implements EpollSet {
  readonly #set: EpollSet;
  #drain: () => void = () => {};
  /** Indexes among the events of the real set, of the round being told. */
  #order: number[] = [];
  #isDue = false;

  constructor(set: EpollSet) {
    this.#set = set;
  }

  /** True once they are ready, each with an end or an error where one is awaited: they have been told then, in this order. */
  tell(fds: readonly number[], gone: readonly number[]): boolean {
    const count = this.#set.wait();
    const found = new Map(Array.from({ length: Math.max(0, count) }, (_, i) => [this.#set.fdAt(i), i]));
    const isReady = (fd: number) => found.has(fd) && this.#set.isHungUpAt(found.get(fd) as number);
    if (!fds.every((fd) => found.has(fd)) || !gone.every(isReady)) return false;
    this.#order = fds.map((fd) => found.get(fd) as number);
    this.#isDue = true;
    this.#drain();
    return true;
  }

  /** Whether there would be anything to tell of it. */
  isReady(fd: number): boolean {
    const count = this.#set.wait();
    return Array.from({ length: Math.max(0, count) }, (_, i) => this.#set.fdAt(i)).includes(fd);
  }

  add(fd: number, interest: number, token: number): boolean {
    return this.#set.add(fd, interest, token);
  }
  change(fd: number, interest: number, token: number): void {
    this.#set.change(fd, interest, token);
  }
  remove(fd: number): void {
    this.#set.remove(fd);
  }
  wait(): number {
    const count = this.#isDue ? this.#order.length : 0;
    this.#isDue = false;
    return count;
  }
  fdAt(index: number): number {
    return this.#set.fdAt(this.#order[index] as number);
  }
  tokenAt(index: number): number {
    return this.#set.tokenAt(this.#order[index] as number);
  }
  isReadableAt(index: number): boolean {
    return this.#set.isReadableAt(this.#order[index] as number);
  }
  isWritableAt(index: number): boolean {
    return this.#set.isWritableAt(this.#order[index] as number);
  }
  isHungUpAt(index: number): boolean {
    return this.#set.isHungUpAt(this.#order[index] as number);
  }
  onReady(callback: () => void): void {
    this.#drain = callback;
  }
  keepAlive(): void {}
}

/** A connection of ours, what it has heard, and the socket at its other end with what that has got. */
export class Line implements ConnHandler {
  readonly conn: Conn;
  readonly peer: Socket;
  text = '';
  /** `ended`, `drained`, `closed`, in order. */
  readonly log: string[] = [];
  readonly faults: unknown[] = [];
  got = '';
  hasPeerEnded = false;
  isPeerClosed = false;
  /** Called behind bytes. */
  on: () => void = () => {};

  constructor(peer: Socket, connOf: (handler: ConnHandler) => Conn) {
    this.peer = peer;
    peer.on('error', () => {});
    peer.on('data', (chunk: Buffer) => {
      this.got += chunk.toString('latin1');
    });
    peer.on('end', () => {
      this.hasPeerEnded = true;
    });
    peer.on('close', () => {
      this.isPeerClosed = true;
    });
    this.conn = connOf(this);
  }

  get fd(): number {
    const { socket } = this.conn;
    return socket instanceof RawSocket ? socket.fd : socketFd(socket);
  }

  write(text: string): void {
    this.conn.write(Buffer.from(text, 'latin1'));
  }

  onBytes(chunk: Buffer, end: number): void {
    this.text += chunk.toString('latin1', 0, end);
    this.on();
  }
  onEnd(): void {
    this.log.push('ended');
  }
  onDrain(): void {
    this.log.push('drained');
  }
  onClosed(): void {
    this.log.push('closed');
  }
  onFault(error: unknown): void {
    this.faults.push(error);
  }
}

/** Whose descriptor a connection has: its own as a raw socket, or Node's. */
export type Kind = 'raw' | 'node';

/** Connections of which the test says, round by round, which are ready together. For each test of the file that makes one. */
export class HeldStage {
  readonly native: Native;
  /** How many reads, or writes, each system call did since the test has begun. */
  readonly reads: number[] = [];
  readonly writes: number[] = [];
  /** Writes that were calls of their own. */
  lone = 0;
  #set: HeldSet | null = null;
  #server: Server | null = null;
  readonly #opened: { destroy(): unknown }[] = [];

  constructor(below: Native = openNative()) {
    const context = below.batch.newContext();
    this.native = {
      ...below,
      write: (...args) => {
        this.lone++;
        return below.write(...args);
      },
      epoll: () => {
        const set = below.epoll();
        this.#set = set === null ? null : new HeldSet(set);
        return this.#set;
      },
      batch: { ...below.batch, newContext: () => context, open: (of) => this.#counted(below.batch.open(of)) },
    };
    beforeEach(async () => {
      this.reads.length = 0;
      this.writes.length = 0;
      this.lone = 0;
      this.#server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true });
      await new Promise<void>((resolve) => this.#server?.listen(0, '127.0.0.1', resolve));
    });
    afterEach(() => {
      for (const one of this.#opened.splice(0)) one.destroy();
      this.#server?.close();
    });
    afterAll(() => {
      if (context !== null) below.batch.endContext(context);
    });
  }

  get readiness(): Readiness {
    const readiness = readinessOf(this.native);
    if (readiness === null) throw new Error('no epoll set');
    return readiness;
  }

  /** Opens a connection, which reads. */
  async open(kind: Kind): Promise<Line> {
    const taken = new Promise<Socket>((resolve) => this.#server?.once('connection', resolve));
    const { port } = this.#server?.address() as AddressInfo;
    const peer = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    const accepted = await taken;
    return this.#line(peer, kind === 'raw' ? this.raw(accepted) : accepted);
  }

  /** A connection on the descriptor of a socket that was opened before, at once: for one that takes a number. */
  line(peer: Socket, socket: Socket | RawSocket): Line {
    return this.#line(peer, socket);
  }

  /** A pair of Node's sockets that no connection of ours stands on yet. */
  async sockets(): Promise<{ peer: Socket; accepted: Socket }> {
    const taken = new Promise<Socket>((resolve) => this.#server?.once('connection', resolve));
    const { port } = this.#server?.address() as AddressInfo;
    const peer = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    const accepted = await taken;
    this.#opened.push(peer, accepted);
    return { peer, accepted };
  }

  async openAll(...kinds: readonly Kind[]): Promise<Line[]> {
    const lines: Line[] = [];
    for (const kind of kinds) lines.push(await this.open(kind));
    return lines;
  }

  raw(accepted: Socket): RawSocket {
    const fd = this.native.listen.duplicate(socketFd(accepted));
    if (fd === null) throw new Error('no descriptor');
    accepted.destroy();
    return new RawSocket(this.readiness, fd, null);
  }

  /** Waits until all are ready, and tells them so together, in this order; of `gone` the end must have come. */
  async round(lines: readonly Line[], gone: readonly Line[] = []): Promise<void> {
    const fds = lines.map(({ fd }) => fd);
    const ends = gone.map(({ fd }) => fd);
    void this.readiness;
    await waitFor(() => this.#set?.tell(fds, ends), { what: `${fds.join()} to be ready` });
  }

  isReady(fd: number): boolean {
    return this.#set?.isReady(fd) === true;
  }

  #line(peer: Socket, socket: Socket | RawSocket): Line {
    const line = new Line(peer, (handler) => Conn.accept(socket, this.native, handler));
    this.#opened.push(peer, line.conn);
    return line;
  }

  #counted(batch: IoBatch | null): IoBatch | null {
    if (batch === null) return null;
    const { read, write } = batch;
    batch.read = () => {
      this.reads.push(batch.readCount);
      return read.call(batch);
    };
    batch.write = () => {
      this.writes.push(batch.writeCount);
      write.call(batch);
    };
    return batch;
  }
}

/** Behind what was put off to a turn of its own. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}
