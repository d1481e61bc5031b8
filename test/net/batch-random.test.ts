import { connect, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import type { ConnHandler } from '../../src/net/conn-handler.ts';
import { Conn } from '../../src/net/conn.ts';
import { socketOf } from '../../src/net/descriptor.ts';
import type { ConnSocket, RawSocket } from '../../src/net/raw-socket.ts';
import { type Random, withSeed } from '../support/random.ts';
import { waitFor } from '../support/wait-for.ts';
import { ConnStage } from './conn-stage.ts';

const STEPS = 100;
const LINES = 40;

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;

const stage = new ConnStage();

/** Byte `at` of the stream of line `id`, in one of its directions. */
const byteAt = (id: number, at: number) => (id * 31 + at * 7 + (at >> 8) * 13) & 0xff;

function stretch(id: number, from: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = byteAt(id, from + i);
  return bytes;
}

/** Where a stream differs from what was sent; -1 nowhere. */
function differsAt(id: number, from: number, chunk: Buffer, end: number): number {
  for (let i = 0; i < end; i++) if (chunk[i] !== byteAt(id, from + i)) return from + i;
  return -1;
}

/** One connection, its peer, and how far each direction is. */
class Line implements ConnHandler {
  readonly id: number;
  readonly peer: Socket;
  conn!: Conn;
  /** Sent by the peer, heard by us; sent by us, got by the peer. */
  asked = 0;
  heard = 0;
  written = 0;
  got = 0;
  /** What the peer sends need not be heard any more. */
  isCut = false;
  /** What we have sent may be lost. */
  isOver = false;
  hasEnded = false;
  readonly faults: string[] = [];
  on: () => void = () => {};

  constructor(id: number, peer: Socket) {
    this.id = id;
    this.peer = peer;
    peer.on('error', () => {});
    peer.on('data', (chunk: Buffer) => {
      const at = differsAt(id + 128, this.got, chunk, chunk.length);
      if (at >= 0) this.faults.push(`the peer of ${id} got something else at ${at}`);
      this.got += chunk.length;
    });
  }

  onBytes(chunk: Buffer, end: number): void {
    if (this.conn?.isPaused || this.conn?.isSuspended)
      this.faults.push(`${this.id} heard while it was paused`);
    const at = differsAt(this.id, this.heard, chunk, end);
    if (at >= 0) this.faults.push(`${this.id} heard something else at ${at}`);
    this.heard += end;
    this.on();
  }
  onEnd(): void {
    if (!this.isCut && this.heard !== this.asked) this.faults.push(`${this.id} has ended too early`);
    this.hasEnded = true;
  }
  onDrain(): void {}
  onClosed(): void {}
  onFault(error: unknown): void {
    this.faults.push(String(error));
  }

  write(length: number): void {
    if (this.isCut || this.conn.isClosed) return;
    const bytes = stretch(this.id + 128, this.written, length);
    this.written += length;
    if (length % 2 === 0) {
      this.conn.write(bytes);
      return;
    }
    this.conn.forward(bytes, 0, length);
    // It was borrowed.
    bytes.fill(0);
  }

  ask(length: number): void {
    if (this.peer.destroyed || !this.peer.writable) return;
    this.peer.write(stretch(this.id, this.asked, length));
    this.asked += length;
  }
}

async function open(id: number, isRaw: boolean): Promise<Line> {
  const taken = new Promise<ConnSocket>((resolve) =>
    isRaw ? stage.acceptedRaw.push(resolve as (s: RawSocket) => void) : stage.accepted.push(resolve),
  );
  const port = isRaw ? stage.rawPort : stage.port;
  const peer = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  const line = new Line(id, peer);
  const socket = await taken;
  // The kernel takes little at a time.
  if (id % 3 > 0) {
    stage.native.setOption(socket, SOL_SOCKET, SO_SNDBUF, 4096);
    stage.native.setOption(peer, SOL_SOCKET, SO_RCVBUF, 4096);
  }
  line.conn = Conn.accept(socket, stage.native, line);
  stage.opened.push(peer, { destroy: () => line.conn.destroy() });
  return line;
}

const size = (random: Random) =>
  random.below(30) === 0 ? 1 + random.below(60_000) : 1 + random.below(random.below(3) === 0 ? 20_000 : 300);

it('every byte arrives once and in order, whatever happens in turns that come together', async () => {
  await withSeed(async (random) => {
    const all: Line[] = [];
    let lines: Line[] = [];
    let moves = 0;
    for (let step = 0; step < STEPS; step++) {
      while (lines.length < LINES) {
        const line = await open(all.length % 128, random.below(2) === 0);
        all.push(line);
        lines.push(line);
        line.on = () => {
          for (let n = random.below(4); n > 0; n--) moves += act(random, random.pick(lines));
          if (random.below(3) > 0) line.write(size(random));
        };
      }
      // All of these are ready together.
      for (const line of lines)
        if (random.below(3) > 0 && line.asked - line.heard < 1e6) line.ask(size(random));
      for (let n = random.below(3); n > 0; n--) await new Promise((resolve) => setImmediate(resolve));
      lines = lines.filter((line) => !line.isCut && !line.hasEnded);
    }
    for (const line of all) {
      line.on = () => {};
      if (line.conn.isClosed) continue;
      line.conn.wake();
      line.conn.resume();
    }
    for (const { peer } of all) {
      peer.resume();
      // Little by little takes seconds.
      stage.native.setOption(peer, SOL_SOCKET, SO_RCVBUF, 1 << 20);
    }
    const isDone = (line: Line) =>
      line.faults.length > 0 ||
      ((line.isCut || line.asked === line.heard) && (line.isOver || line.got === line.written));
    await waitFor(() => all.every(isDone), { what: 'every byte', deadlineMs: 30_000 });
    expect(all.flatMap(({ faults }) => faults)).toEqual([]);
    expect(moves).toBeGreaterThan(10);
  });
}, 60_000);

function act(random: Random, line: Line): number {
  const { conn, peer } = line;
  if (line.isCut) return 0;
  switch (random.below(24)) {
    case 0:
    case 1:
    case 2:
      conn.pause();
      break;
    case 3:
    case 4:
    case 5:
      conn.resume();
      break;
    case 6:
      conn.suspend(() => true);
      break;
    case 7:
    case 8:
      conn.wake();
      break;
    case 9:
      conn.readNow();
      break;
    case 10:
    case 11:
      peer.pause();
      break;
    case 12:
      peer.resume();
      break;
    case 13:
      if (random.below(6) > 0) break;
      // What was written goes out before the end.
      line.isCut = true;
      line.written += 100;
      conn.end(stretch(line.id + 128, line.written - 100, 100));
      break;
    case 14:
      if (random.below(6) > 0) break;
      line.isCut = true;
      // Unread bytes make a reset of it, and the peer may lose what it has not read.
      line.isOver = true;
      conn.endAndDestroy();
      break;
    case 15:
      if (random.below(6) > 0) break;
      line.isCut = true;
      line.isOver = true;
      conn.destroy();
      break;
    case 18:
      if (random.below(6) > 0) break;
      line.isCut = true;
      line.isOver = true;
      if (random.below(2) === 0) peer.resetAndDestroy();
      else peer.destroy();
      break;
    case 19:
      if (random.below(6) > 0) break;
      // All that it has sent is still heard, and all that it is sent arrives.
      line.peer.end();
      break;
    case 16:
    case 17: {
      conn.readNow();
      const fd = conn.detach();
      if (fd === null) break;
      line.conn = Conn.accept(socketOf(fd), stage.native, line);
      return 1;
    }
    default:
      line.write(size(random));
  }
  return 0;
}
