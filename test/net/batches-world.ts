import { connect, type Socket } from 'node:net';
import { Conn } from '../../src/net/conn.ts';
import type { ConnHandler } from '../../src/net/conn-handler.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import { RawSocket, rawReadiness } from '../../src/net/raw-socket.ts';
import type { Readiness } from '../../src/net/readiness.ts';
import { Random } from '../support/random.ts';
import type { ConnStage } from './conn-stage.ts';

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;

const LEAST = 20;
const MOST = 50;

/** A prime, so that no slot or buffer is a multiple of it. */
const PERIOD = 8191;

/** The bytes of one direction of one connection, which say at each place whose they are. */
class Stream {
  readonly #pattern: Buffer;
  sent = 0;
  received = 0;

  constructor(id: number) {
    this.#pattern = new Random(id * 7919).bytes(PERIOD);
  }

  /** What is to be sent next. */
  next(bytes: number): Buffer {
    const next = this.#at(this.sent, bytes);
    this.sent += bytes;
    return next;
  }

  /** Whether these are the next to come. */
  take(bytes: Buffer): boolean {
    const isRight = this.#at(this.received, bytes.length).equals(bytes);
    this.received += bytes.length;
    return isRight && this.received <= this.sent;
  }

  get isComplete(): boolean {
    return this.received === this.sent;
  }

  #at(from: number, bytes: number): Buffer {
    const made = Buffer.allocUnsafe(bytes);
    for (let at = 0; at < bytes; ) at += this.#pattern.copy(made, at, (from + at) % PERIOD);
    return made;
  }
}

const ON_PURPOSE = new Error('thrown on purpose');

/** A connection of ours and the socket at its other end. */
export class Line implements ConnHandler {
  readonly #world: World;
  readonly #id: number;
  readonly out: Stream;
  readonly in: Stream;
  conn: Conn | null = null;
  peer: Socket | null = null;
  /** Somebody has cut it: it need not be complete. */
  isCut = false;
  hasEnded = false;
  hasPeerEnded = false;
  closes = 0;
  drains = 0;

  constructor(world: World, id: number) {
    this.#world = world;
    this.#id = id;
    this.out = new Stream(2 * id);
    this.in = new Stream(2 * id + 1);
  }

  get isLive(): boolean {
    return this.conn !== null && this.peer !== null && !this.conn.isClosed;
  }

  /** Both ends are there. */
  begin(conn: Conn, peer: Socket): void {
    this.conn = conn;
    this.peer = peer;
    peer.on('error', () => {});
    peer.on('data', (chunk: Buffer) => {
      if (!this.out.take(chunk)) this.#wrong(`its peer got ${chunk.length} wrong bytes`);
    });
    peer.on('end', () => {
      if (this.hasEnded && !this.isCut && !this.out.isComplete)
        this.#wrong('its peer heard the end too early');
    });
    this.#world.begun(this);
  }

  fromPeer(bytes: number): void {
    const { peer } = this;
    if (peer === null || peer.destroyed || this.hasPeerEnded || peer.writableNeedDrain) return;
    peer.write(this.in.next(bytes));
  }

  toPeer(bytes: number, way: 'write' | 'forward'): void {
    const { conn } = this;
    if (conn === null || !this.isLive || this.hasEnded || conn.isCongested) return;
    const chunk = this.out.next(bytes);
    if (way === 'write') {
      conn.write(chunk);
      return;
    }
    conn.forward(chunk, 0, bytes);
    // Nobody may rely on a borrowed one.
    chunk.fill(0);
  }

  onBytes(chunk: Buffer, end: number): void {
    if (!this.in.take(chunk.subarray(0, end))) this.#wrong(`it heard ${end} wrong bytes`);
    if (this.conn?.isPaused === true || this.conn?.isSuspended === true)
      this.#wrong('it is at rest, and hears');
    this.#world.heard(this);
  }

  onEnd(): void {
    if (this.hasPeerEnded && !this.isCut && !this.in.isComplete) this.#wrong('it heard the end too early');
    this.#world.heard(this);
  }

  onDrain(): void {
    this.drains++;
    this.#world.heard(this);
  }

  onClosed(): void {
    this.closes++;
    if (this.closes > 1) this.#wrong('it is closed twice');
    this.#world.heard(this);
  }

  onFault(error: unknown): void {
    this.isCut = true;
    if (error !== ON_PURPOSE) this.#wrong(`it threw ${error}`);
  }

  #wrong(what: string): void {
    const { socket } = this.conn ?? {};
    const kind = socket instanceof RawSocket ? 'raw' : 'node';
    this.#world.wrong.push(
      `${this.#id} (${kind}, out ${this.out.received}/${this.out.sent}, in ${this.in.received}/${this.in.sent}): ${what}`,
    );
  }
}

/** Connections that do things to each other in their turns. */
export class World {
  readonly random: Random;
  readonly all: Line[] = [];
  readonly wrong: string[] = [];
  /** How often a descriptor's number was met. */
  readonly numbers = new Map<number, number>();
  moved = 0;
  /** How often one with bytes for a slow peer was at hand. */
  slow = 0;
  /** Which are being opened. */
  opening = 0;
  live: Line[] = [];
  isOver = false;
  /** By the ports of both ends, by which they meet: what the other one is waited for with. */
  readonly #halves = new Map<string, (other: Socket | RawSocket) => void>();
  readonly #arrived = new Map<string, Socket | RawSocket>();
  #isActing = false;
  readonly #stage: ConnStage;
  readonly #readiness: Readiness;

  constructor(random: Random, stage: ConnStage) {
    this.random = random;
    this.#stage = stage;
    const readiness = rawReadiness(stage.native);
    if (readiness === null) throw new Error('no raw sockets');
    this.#readiness = readiness;
  }

  open(): void {
    const line = new Line(this, this.all.length + 1);
    this.all.push(line);
    this.opening++;
    const arrived = (socket: Socket | RawSocket) => {
      // The port alone would not do: to another listener it may be somebody else's.
      const ports = `${socket.localPort} ${socket.remotePort}`;
      const half = this.#halves.get(ports);
      this.#halves.delete(ports);
      if (half === undefined) this.#arrived.set(ports, socket);
      else half(socket);
    };
    const meet = (socket: Socket, half: (other: Socket | RawSocket) => void) => {
      const ports = `${socket.remotePort} ${socket.localPort}`;
      const other = this.#arrived.get(ports);
      this.#arrived.delete(ports);
      if (other === undefined) this.#halves.set(ports, half);
      else half(other);
    };
    const options = { host: '127.0.0.1', noDelay: true, allowHalfOpen: true };
    if (this.random.below(2) === 0) {
      this.#stage.acceptedRaw.push(arrived);
      const peer = connect({ ...options, port: this.#stage.rawPort });
      peer.once('connect', () =>
        meet(peer, (raw) => line.begin(Conn.accept(raw, this.#stage.native, line), peer)),
      );
    } else {
      this.#stage.accepted.push(arrived);
      const conn = Conn.connect(
        { ...options, port: this.#stage.port },
        line,
        () => meet(conn.socket as Socket, (peer) => line.begin(conn, peer as Socket)),
        this.#stage.native,
      );
    }
  }

  begun(line: Line): void {
    this.opening--;
    this.live.push(line);
    this.#stage.opened.push({
      destroy() {
        line.conn?.destroy();
        line.peer?.destroy();
      },
    });
    const { socket } = line.conn as Conn;
    // Every other one has a queue as soon as its peer is slow.
    if (this.random.below(2) === 0) {
      this.#stage.native.setOption(socket, SOL_SOCKET, SO_SNDBUF, 4 * 1024);
      this.#stage.native.setOption(line.peer as Socket, SOL_SOCKET, SO_RCVBUF, 16 * 1024);
    }
    const fd = socket instanceof RawSocket ? socket.fd : socketFd(socket);
    this.numbers.set(fd, (this.numbers.get(fd) ?? 0) + 1);
  }

  /** One of those that are ready together has its turn. */
  heard(line: Line): void {
    if (this.#isActing || this.isOver) return;
    this.#isActing = true;
    try {
      const { random } = this;
      for (let i = random.below(4); i > 0; i--) this.#write(random.below(2) === 0 ? line : this.#any());
      if (random.below(10) === 0) for (let i = 0; i < 8; i++) line.toPeer(8192, 'forward');
      for (let i = random.below(3); i > 0; i--) this.#act(random.below(4) === 0 ? line : this.#any());
      if (random.below(500) === 0) {
        line.isCut = true;
        throw ON_PURPOSE;
      }
    } finally {
      this.#isActing = false;
    }
  }

  /** Has many be ready at a time. */
  poke(): void {
    const { random } = this;
    this.live = this.live.filter(({ isLive }) => isLive);
    const whole = this.live.filter(({ hasEnded, hasPeerEnded }) => !hasEnded && !hasPeerEnded);
    while (whole.length + this.opening < LEAST && this.live.length + this.opening < MOST) this.open();
    for (const line of this.live) {
      if (random.below(4) > 0) line.fromPeer(this.#size());
      if (random.below(20) === 0) this.#ofPeer(line);
    }
    if (random.below(4) === 0) this.#act(this.#any());
  }

  #any(): Line {
    return this.random.pick(this.live.length > 0 && this.random.below(8) > 0 ? this.live : this.all);
  }

  #size(): number {
    const { random } = this;
    switch (random.below(14)) {
      case 0:
        return 1 + random.below(60_000);
      case 1:
        return 16 * 1024 - 2 + random.below(4);
      case 2:
        return 8 * 1024 - 2 + random.below(4);
      default:
        return 1 + random.below(400);
    }
  }

  #write(line: Line): void {
    line.toPeer(this.#size(), this.random.pick(['write', 'forward']));
  }

  #ofPeer(line: Line): void {
    const { peer } = line;
    if (peer === null) return;
    const { random } = this;
    switch (random.below(14)) {
      case 0:
        line.hasPeerEnded = true;
        peer.end();
        break;
      case 1:
        line.isCut = true;
        if (random.below(2) === 0) peer.resetAndDestroy();
        else peer.destroy();
        break;
      case 2:
      case 3:
      case 4:
      case 5:
      case 6:
        peer.pause();
        break;
      default:
        peer.resume();
    }
  }

  /** Something that somebody may do to a connection, dead or alive. */
  #act(line: Line): void {
    const { conn } = line;
    const { random } = this;
    if (conn === null) return;
    if (conn.socket.writableLength > 0) this.slow++;
    switch (random.below(120)) {
      case 0:
        line.isCut = true;
        conn.destroy();
        break;
      case 1:
        line.hasEnded = true;
        conn.end();
        break;
      case 2:
        line.isCut = true;
        line.hasEnded = true;
        conn.endAndDestroy();
        break;
      case 3:
      case 4:
        this.#move(line, conn);
        break;
      case 5:
        if (this.live.length + this.opening < MOST) this.open();
        break;
      case 6:
      case 7:
        if (conn.pendingBytes < 0) this.wrong.push('less than nothing waits');
        break;
      default:
        this.#rest(conn);
    }
  }

  /** What becomes of its reading. */
  #rest(conn: Conn): void {
    const { random } = this;
    switch (random.below(10)) {
      case 0:
      case 1:
        conn.pause();
        break;
      case 2:
        conn.suspend(() => random.below(4) > 0);
        break;
      case 3:
      case 4:
        conn.wake();
        break;
      case 5:
      case 6:
        conn.readNow();
        break;
      default:
        conn.resume();
    }
  }

  /** As one that goes to another thread. */
  #move(line: Line, conn: Conn): void {
    if (conn.socket.connecting || line.peer === null) return;
    conn.readNow();
    const fd = conn.detach();
    if (fd === null) return;
    this.moved++;
    line.conn = Conn.accept(new RawSocket(this.#readiness, fd, null), this.#stage.native, line);
  }
}
