import { closeSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { ConnHandler } from '../../src/net/conn-handler.ts';
import { Conn } from '../../src/net/conn.ts';
import { BATCH } from '../../src/net/native-batch.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import type { RawSocket } from '../../src/net/raw-socket.ts';
import { hasUnread } from '../support/unread.ts';
import { waitFor } from '../support/wait-for.ts';
import { ConnStage } from './conn-stage.ts';
import { SocketRecorder } from './socket-recorder.ts';

const stage = new ConnStage();
const { native } = stage;

/** Where the kernel does no batch. */
const refused = new ConnStage({ ...native, batch: { ...native.batch, newContext: () => 4096 } });

let isFull = false;

/** Where the kernel watches no more connections, once it `isFull`. */
const full = new ConnStage({
  ...native,
  epoll() {
    const set = native.epoll();
    return set && { ...set, add: (...args) => !isFull && set.add(...args) };
  },
});

/** A raw socket that is being read, and the socket at its other end. */
async function rawPair(at = stage): Promise<{ raw: RawSocket; heard: SocketRecorder; peer: Socket }> {
  const taken = new Promise<RawSocket>((resolve) => at.acceptedRaw.push(resolve));
  const peer = connect({ port: at.rawPort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  peer.on('error', () => {});
  const raw = await taken;
  stage.opened.push(peer, raw);
  const heard = new SocketRecorder();
  raw.owner = heard;
  raw.resume();
  return { raw, heard, peer };
}

class Heard implements ConnHandler {
  text = '';
  on: () => void = () => {};
  onBytes(chunk: Buffer, end: number): void {
    this.text += chunk.toString('latin1', 0, end);
    this.on();
  }
  onEnd(): void {}
  onDrain(): void {}
  onClosed(): void {}
  onFault(error: unknown): void {
    throw error;
  }
}

/** A connection on a socket of Node's that is read directly, and the socket at its other end. */
async function nodePair(at = stage): Promise<{ conn: Conn; heard: Heard; peer: Socket }> {
  const taken = new Promise<Socket>((resolve) => at.accepted.push(resolve));
  const peer = connect({ port: at.port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  peer.on('error', () => {});
  const heard = new Heard();
  const conn = Conn.accept(await taken, at.native, heard);
  stage.opened.push(peer, conn);
  return { conn, heard, peer };
}

describe('a raw socket that is paused in another one’s turn, when both are ready and it has bytes to send', () => {
  it.each(['at once', 'later'])('is told when it goes on %s what came', async (when) => {
    const first = await rawPair();
    const { raw, heard, peer } = await rawPair();
    const last = await rawPair();
    // Watched for room, it stays in the set while it is paused.
    while (raw.write(Buffer.alloc(1 << 20)));
    first.heard.on = () => raw.pause();
    last.heard.on = () => {
      if (when === 'at once') raw.resume();
    };
    first.peer.write('1');
    peer.write('bytes');
    last.peer.write('2');
    await waitFor(() => first.heard.text === '1' && last.heard.text === '2');
    if (when === 'later') {
      await new Promise((resolve) => setImmediate(resolve));
      expect(heard.text).toBe('');
      raw.resume();
    }
    await waitFor(() => heard.text === 'bytes', { what: 'what it was sent' });
    peer.write(' and more');
    await waitFor(() => heard.text === 'bytes and more');
  });
});

describe('a connection on a socket of Node’s that is closed in an earlier one’s turn', () => {
  it('does not read from who has its number by then', async () => {
    const holder = await nodePair();
    holder.conn.pause();
    holder.peer.write('for the next owner');
    const pairs: Awaited<ReturnType<typeof nodePair>>[] = [];
    // More than are read ahead together: the last one's turn to be read comes behind the first one's handler.
    for (let i = 0; i < BATCH + 2; i++) pairs.push(await nodePair());
    const first = pairs[0] as (typeof pairs)[0];
    const last = pairs.at(-1) as (typeof pairs)[0];
    const number = socketFd(last.conn.socket as Socket);
    const others: number[] = [];
    let heir = -1;
    first.heard.on = () => {
      last.conn.destroy();
      while (heir !== number) {
        if (heir >= 0) others.push(heir);
        heir = native.listen.duplicate(socketFd(holder.conn.socket as Socket)) as number;
      }
    };
    for (const { peer } of pairs) peer.write('x');
    await waitFor(() => pairs.every(({ heard, conn }) => heard.text === 'x' || conn.isClosed));
    expect([heir, hasUnread(heir), last.heard.text]).toEqual([number, true, '']);
    for (const fd of [heir, ...others]) closeSync(fd);
    holder.conn.resume();
    await waitFor(() => holder.heard.text === 'for the next owner');
  });
});

it('a connection that has been paused with others ready, and can be watched no more, is told in order by its stream', async () => {
  const first = await nodePair(full);
  const { conn, heard, peer } = await nodePair(full);
  first.heard.on = () => conn.pause();
  first.peer.write('1');
  peer.write('bytes');
  await waitFor(() => first.heard.text === '1');
  isFull = true;
  peer.write(' and more');
  conn.resume();
  await waitFor(() => heard.text === 'bytes and more', { what: 'all that it was sent' });
});

it('connections that are ready together are read and written one by one where the kernel refuses a batch', async () => {
  const pairs = [await rawPair(refused), await rawPair(refused), await rawPair(refused)];
  const conns = pairs.map(({ raw }) => {
    const echo = new Heard();
    const conn = Conn.accept(raw, refused.native, echo);
    echo.on = () => void conn.write(Buffer.from(echo.text));
    return conn;
  });
  const got = pairs.map(() => '');
  for (const [i, { peer }] of pairs.entries()) peer.on('data', (chunk) => (got[i] += chunk.toString()));
  for (const [i, { peer }] of pairs.entries()) peer.write(String(i));
  await waitFor(() => got.join() === '0,1,2', { what: 'what each has been sent' });
  expect(conns.map(({ isClosed }) => isClosed)).toEqual([false, false, false]);
});

describe('a connection that is read in the middle of another one’s chunk', () => {
  it('leaves that chunk as it is', async () => {
    const first = await nodePair(refused);
    const other = await nodePair(refused);
    const seen: string[] = [];
    class Amid extends Heard {
      override onBytes(chunk: Buffer, end: number): void {
        other.conn.readNow();
        seen.push(other.heard.text, chunk.toString('latin1', 0, end));
      }
    }
    first.conn.handler = new Amid();
    first.peer.write('x'.repeat(100));
    other.peer.write('y'.repeat(100));
    await waitFor(() => seen.length > 0, { what: 'the first one’s bytes' });
    expect(seen).toEqual(['y'.repeat(100), 'x'.repeat(100)]);
  });
});
