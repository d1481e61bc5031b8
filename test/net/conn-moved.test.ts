import { closeSync, fstatSync, readdirSync, readlinkSync } from 'node:fs';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { Conn } from '../../src/net/conn.ts';
import type { ConnHandler } from '../../src/net/conn-handler.ts';
import { socketOf } from '../../src/net/descriptor.ts';
import { openNative } from '../../src/net/native.ts';
import { hasUnread } from '../support/unread.ts';
import { waitFor } from '../support/wait-for.ts';
import { withoutNative } from '../support/without-native.ts';
import { ConnStage } from './conn-stage.ts';

const native = openNative();
const stage = new ConnStage();

/** What a connection heard. */
class Heard implements ConnHandler {
  text = '';
  calls = 0;
  hasEnded = false;
  isClosed = false;
  onBytes(chunk: Buffer, end: number): void {
    this.text += chunk.toString('latin1', 0, end);
  }
  onEnd(): void {
    this.hasEnded = true;
  }
  onDrain(): void {}
  onClosed(): void {
    this.isClosed = true;
  }
  onFault(error: unknown): void {
    throw error;
  }
}

/** A connection made by `Conn.connect`, as those to servers are, and what its peer got. */
async function connected(handler: ConnHandler, calls = native) {
  const taken = new Promise<Socket>((resolve) => stage.accepted.push(resolve));
  const options = { port: stage.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true };
  const conn = await new Promise<Conn>((resolve) => {
    const made = Conn.connect(options, handler, () => resolve(made), calls);
  });
  const peer = await taken;
  stage.opened.push(conn.socket, peer);
  const got = { text: '', hasEnded: false, isClosed: false };
  peer.on('data', (chunk: Buffer) => {
    got.text += chunk.toString('latin1');
  });
  peer.on('end', () => {
    got.hasEnded = true;
  });
  peer.on('close', () => {
    got.isClosed = true;
  });
  peer.on('error', () => {});
  peer.resume();
  return { conn, peer, got };
}

function detach(conn: Conn): number | null {
  conn.readNow();
  return conn.detach();
}

/** As in threads beside the main one, where no set of our own can be watched: the stream reads. */
const streaming = { ...native, epoll: () => null };

function taken(fd: number, handler: ConnHandler, calls = native): Conn {
  const conn = Conn.accept(socketOf(fd), calls, handler);
  stage.opened.push(conn.socket);
  return conn;
}

function descriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith('socket:') ? [target] : [];
    } catch {
      return [];
    }
  });
}

describe.each([
  ['that is read directly', native],
  ['that its stream reads', streaming],
])('a connection %s and let go by its descriptor', (_name, calls) => {
  it('goes on elsewhere in both directions, and the peer notices nothing', async () => {
    const [before, after] = [new Heard(), new Heard()];
    const { conn, peer, got } = await connected(before, calls);
    conn.write(Buffer.from('one'));
    peer.write('1');
    await waitFor(() => got.text === 'one' && before.text === '1');
    const fd = detach(conn) as number;
    expect(typeof fd).toBe('number');
    // Nobody reads for a while: it waits in the kernel.
    peer.write('2');
    await waitFor(() => conn.isClosed);
    const moved = taken(fd, after, calls);
    await waitFor(() => after.text === '2');
    expect(moved.bytesRead).toBe(1);
    moved.write(Buffer.from(' two'));
    peer.write('3');
    await waitFor(() => got.text === 'one two' && after.text === '23');
    expect([before.text, before.hasEnded, before.isClosed, got.hasEnded]).toEqual(['1', false, false, false]);
    moved.end(Buffer.from(' three'));
    await waitFor(() => got.hasEnded);
    expect(got.text).toBe('one two three');
    peer.end();
    await waitFor(() => after.hasEnded && after.isClosed && got.isClosed);
  });

  it('goes back and forth a hundred times, and no descriptor stays behind', async () => {
    const { conn, peer, got } = await connected(new Heard(), calls);
    const heard: Heard[] = [];
    let current = conn;
    const all = descriptors().length;
    for (let i = 0; i < 100; i++) {
      const fd = detach(current);
      if (fd === null) throw new Error('it cannot be detached');
      heard.push(new Heard());
      current = taken(fd, heard.at(-1) as Heard, calls);
      current.write(Buffer.from('x'));
      peer.write('y');
      await waitFor(() => got.text.length === i + 1 && heard.at(-1)?.text === 'y');
    }
    await waitFor(() => descriptors().length === all);
    expect(heard.map(({ text, isClosed }) => [text, isClosed])).toEqual(heard.map(() => ['y', false]));
  });

  it('tells its new owner that the peer has left meanwhile', async () => {
    const { conn, peer } = await connected(new Heard(), calls);
    const fd = detach(conn) as number;
    peer.end('last words');
    const after = new Heard();
    taken(fd, after, calls);
    await waitFor(() => after.hasEnded);
    expect(after.text).toBe('last words');
  });

  it('is not let go when its peer has reset it, and its owner is told at once and hears the end', async () => {
    const heard = new Heard();
    const { conn, peer } = await connected(heard, calls);
    expect(conn.readNow()).toBe(true);
    peer.resetAndDestroy();
    // The kernel has it by then, on the loopback; and the loop, which would read it, is not left.
    expect([conn.readNow(), conn.detach(), heard.isClosed]).toEqual([false, null, false]);
    await waitFor(() => heard.isClosed);
  });

  it('is not let go while something waits to be sent, is not read, has ended or is closed', async () => {
    const { conn, peer } = await connected(new Heard(), calls);
    peer.pause();
    while (conn.pendingBytes === 0) conn.write(Buffer.alloc(1 << 20));
    expect(detach(conn)).toBe(null);
    peer.resume();
    await waitFor(() => conn.pendingBytes === 0);
    conn.pause();
    expect(detach(conn)).toBe(null);
    conn.resume();
    conn.end();
    expect(detach(conn)).toBe(null);
    conn.destroy();
    expect(detach(conn)).toBe(null);
  });

  it('is not let go without native calls, or where there is no second descriptor', async () => {
    const streamed = await connected(new Heard(), withoutNative);
    expect(detach(streamed.conn)).toBe(null);
    const full = { ...calls, listen: withoutNative.listen };
    const { conn, peer, got } = await connected(new Heard(), full);
    expect(detach(conn)).toBe(null);
    conn.write(Buffer.from('still here'));
    await waitFor(() => got.text === 'still here');
    const heard = new Heard();
    conn.handler = heard;
    peer.write('and heard');
    await waitFor(() => heard.text === 'and heard');
  });

  it('reads at once what has come, when it is asked to', async () => {
    const heard = new Heard();
    const { conn, peer } = await connected(heard, calls);
    await new Promise<void>((resolve) => peer.write('now', () => resolve()));
    // The kernel has it by then, on the loopback.
    conn.readNow();
    expect(heard.text).toBe('now');
    expect(conn.readNow()).toBe(true);
    peer.end();
    await waitFor(() => !conn.readNow() && heard.hasEnded);
  });
});

/** Native calls whose epoll set counts what it has told of. */
function counting() {
  const told = { events: 0 };
  const calls = {
    ...native,
    epoll: () => {
      const set = native.epoll();
      if (set === null) return null;
      const wait = (): number => {
        const count = set.wait();
        told.events += Math.max(0, count);
        return count;
      };
      return { ...set, wait };
    },
  };
  return { calls, told };
}

describe('a socket of a descriptor', () => {
  it.skipIf(native.missing.has('io'))(
    'is not watched any more: what comes for it then wakes nobody here',
    async () => {
      const { calls, told } = counting();
      const heard = new Heard();
      const { conn, peer } = await connected(heard, calls);
      const fd = detach(conn);
      if (fd === null) throw new Error('it cannot be detached');
      peer.write('for whoever has it now');
      await waitFor(() => hasUnread(fd), { what: 'the bytes' });
      const before = told.events;
      for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
      expect(told.events).toBe(before);
      closeSync(fd);
    },
  );

  it('reads nothing before it is told to', async () => {
    const { conn, peer } = await connected(new Heard());
    const socket = socketOf(detach(conn) as number);
    stage.opened.push(socket);
    expect([socket.isPaused(), socket.readyState, socket.allowHalfOpen]).toEqual([true, 'open', true]);
    await new Promise<void>((resolve) => peer.write('early', () => resolve()));
    const chunks: Buffer[] = [];
    // A turn of the event loop in which it would be read.
    await new Promise<void>((resolve) => {
      const other = connect({ port: stage.port, host: '127.0.0.1' }, () => resolve());
      stage.opened.push(other);
    });
    expect([socket.bytesRead, socket.readableLength]).toEqual([0, 0]);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.resume();
    await waitFor(() => Buffer.concat(chunks).toString() === 'early');
  });

  it('is not to be had of anything else, which stays open', async () => {
    const { conn } = await connected(new Heard());
    const fd = detach(conn) as number;
    closeSync(fd);
    expect(() => socketOf(fd)).toThrow();
    expect(() => fstatSync(fd)).toThrow();
  });
});
