import { closeSync, readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { constants } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openNative } from '../../src/net/native.ts';
import { BATCH, type IoBatch, SLOT_BYTES } from '../../src/net/native-batch.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import { lacking } from '../support/lacking.ts';
import { waitFor } from '../support/wait-for.ts';

const native = openNative();
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const { EPIPE, ECONNRESET } = constants.errno;

const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
const sockets: Socket[] = [];
let context: number | null = null;
let batch: IoBatch;

beforeAll(async () => {
  context = native.batch.newContext();
  const opened = native.batch.open(context);
  if (opened === null) return;
  batch = opened;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterAll(() => {
  if (context !== null) native.batch.endContext(context);
  for (const socket of sockets) socket.destroy();
  server.close();
});

interface Pair {
  readonly fd: number;
  readonly accepted: Socket;
  readonly peer: Socket;
  /** What the peer has got; it reads from the beginning. */
  got: string;
}

async function pair(): Promise<Pair> {
  const taken = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const { port } = server.address() as AddressInfo;
  const peer = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  peer.on('error', () => {});
  const accepted = await taken;
  accepted.on('error', () => {});
  sockets.push(peer, accepted);
  const made: Pair = { fd: socketFd(accepted), accepted, peer, got: '' };
  peer.on('data', (chunk: Buffer) => {
    made.got += chunk.toString('latin1');
  });
  return made;
}

async function pairs(count: number): Promise<Pair[]> {
  const made: Pair[] = [];
  for (let i = 0; i < count; i++) made.push(await pair());
  return made;
}

/** Of what a socket has, as the batch reads it, at once. */
const slot = (i: number) => {
  const count = batch.readResult(i);
  return count <= 0 ? count : (batch.slots[i] as Buffer).toString('latin1', 0, count);
};

/** Until the bytes are in the socket: loopback or not, that is the kernel's business. */
async function arrived(...of: readonly Pair[]): Promise<void> {
  const set = native.epoll();
  if (set === null) throw new Error('no epoll set');
  for (const { fd } of of) set.add(fd, 1, 0);
  await waitFor(() => set.wait() === of.length, { what: `${of.length} sockets with something to read` });
  for (const { fd } of of) set.remove(fd);
}

const receive = (fd: number) => {
  const buffer = Buffer.alloc(100_000);
  const count = native.receive(fd, buffer);
  return count <= 0 ? count : buffer.toString('latin1', 0, count);
};

describe.runIf(process.platform === 'linux')('reads of several sockets at once', () => {
  it('put each one’s bytes into its own slot, and tell of an end, and of nothing, as recv does', async () => {
    const [first, empty, ended, long] = (await pairs(4)) as [Pair, Pair, Pair, Pair];
    first.peer.write('one');
    ended.peer.end();
    long.peer.write('x'.repeat(SLOT_BYTES + 5));
    await arrived(first, ended, long);
    await waitFor(() => native.hasPeerLeft(ended.accepted));
    const all = [long, first, empty, ended];
    expect(all.map(({ fd }) => batch.addRead(fd))).toEqual([0, 1, 2, 3]);
    expect(batch.readCount).toBe(4);
    batch.read();
    expect(batch.readCount).toBe(0);
    expect([slot(1), slot(2), slot(3)]).toEqual(['one', -1, 0]);
    expect(slot(0)).toBe('x'.repeat(SLOT_BYTES));
    await waitFor(() => receive(long.fd) === 'xxxxx');
    // What the slots held does not come again.
    for (const { fd } of all) batch.addRead(fd);
    batch.read();
    expect([0, 1, 2, 3].map(slot)).toEqual([-1, -1, -1, 0]);
  });

  it('are as many as there are slots, with distinct bytes in all of them', async () => {
    const all = await pairs(BATCH);
    for (let turn = 0; turn < 3; turn++) {
      const text = (i: number) => String.fromCharCode(48 + turn, 48 + i).repeat(1 + i * 7);
      for (const [i, { peer }] of all.entries()) peer.write(text(i));
      await arrived(...all);
      for (const { fd } of all) batch.addRead(fd);
      batch.read();
      expect(all.map((_, i) => slot(i))).toEqual(all.map((_, i) => text(i)));
    }
  });

  it('lose nothing where a descriptor among them is closed: what stands behind it is still the kernel’s', async () => {
    const all = await pairs(4);
    for (const [i, { peer }] of all.entries()) peer.write(`of ${i}`);
    await arrived(...all);
    const closed = native.listen.duplicate((all[0] as Pair).fd) as number;
    closeSync(closed);
    for (const { fd } of [all[0] as Pair, { fd: closed }, ...all.slice(1)]) batch.addRead(fd);
    batch.read();
    expect([0, 1, 2, 3, 4].map(slot)).toEqual(['of 0', -1, -1, -1, -1]);
    expect(all.slice(1).map(({ fd }) => receive(fd))).toEqual(['of 1', 'of 2', 'of 3']);
  });

  it('tell of a failed connection by its errno, and of the others as ever', async () => {
    const [one, failed, two] = (await pairs(3)) as [Pair, Pair, Pair];
    one.peer.write('one');
    two.peer.write('two');
    failed.peer.resetAndDestroy();
    await arrived(one, failed, two);
    for (const { fd } of [one, failed, two]) batch.addRead(fd);
    batch.read();
    expect([0, 1, 2].map(slot)).toEqual(['one', -ECONNRESET, 'two']);
  });

  it('leave one out that was taken back', async () => {
    const [one, two] = (await pairs(2)) as [Pair, Pair];
    one.peer.write('one');
    two.peer.write('two');
    await arrived(one, two);
    batch.addRead(one.fd);
    batch.addRead(two.fd);
    batch.dropRead();
    batch.read();
    expect([slot(0), receive(two.fd)]).toEqual(['one', 'two']);
  });
});

describe.runIf(process.platform === 'linux')('writes to several sockets at once', () => {
  it('are as many as there is place for, each of its own bytes, in pieces or whole', async () => {
    const all = await pairs(BATCH);
    const text = (i: number) => String.fromCharCode(48 + i).repeat(1 + i * 40);
    for (const [i, { fd }] of all.entries()) {
      const bytes = Buffer.from(`..${text(i)}.`);
      const middle = 2 + (i % 3);
      expect(batch.addWrite(fd, bytes, 2, Math.min(middle, bytes.length - 1))).toBe(i);
      if (middle < bytes.length - 1) batch.extendWrite(bytes, middle, bytes.length - 1);
      expect(batch.endOfWrite(i) - batch.startOfWrite(i)).toBe(text(i).length);
    }
    batch.write();
    expect(all.map((_, i) => batch.writeResult(i))).toEqual(all.map((_, i) => text(i).length));
    batch.clearWrites();
    await waitFor(() => all.every(({ got }, i) => got.length >= text(i).length));
    expect(all.map(({ got }) => got)).toEqual(all.map((_, i) => text(i)));
  });

  it('are whole, short, none, or an errno, each as its own socket has it', async () => {
    const [slow, whole, gone, last] = (await pairs(4)) as [Pair, Pair, Pair, Pair];
    slow.peer.pause();
    native.setOption(slow.accepted, SOL_SOCKET, SO_SNDBUF, 4096);
    gone.peer.resetAndDestroy();
    await waitFor(() => native.hasPeerLeft(gone.accepted));
    const bytes = Buffer.alloc(50_000, 'x');
    const small = Buffer.from('small');
    let taken = 0;
    let round = 0;
    const results: number[] = [];
    for (; round < 500 && results.at(-1) !== -1; round++) {
      batch.addWrite(slow.fd, bytes, 0, bytes.length);
      for (const { fd } of [whole, gone, last]) batch.addWrite(fd, small, 0, small.length);
      batch.write();
      const result = batch.writeResult(0);
      results.push(result);
      taken += Math.max(0, result);
      expect([1, 3].map((i) => batch.writeResult(i))).toEqual([5, 5]);
      expect([-EPIPE, -ECONNRESET]).toContain(batch.writeResult(2));
      batch.clearWrites();
    }
    expect(results.at(-1)).toBe(-1);
    expect(results.filter((count) => count > 0 && count < bytes.length).length).toBeGreaterThan(0);
    slow.peer.resume();
    await waitFor(() => slow.got.length === taken && last.got.length === round * 5);
    expect([whole.got, last.got]).toEqual(['small'.repeat(round), 'small'.repeat(round)]);
  });

  it('say where there is no more room, and have all of it again behind the last', async () => {
    const [one] = (await pairs(1)) as [Pair];
    const size = 8 * 1024;
    let count = 0;
    for (; batch.hasSpace(size); count++) batch.addWrite(one.fd, Buffer.alloc(size, 48 + count), 0, size);
    expect([count, batch.hasSpace(1), batch.writeCount]).toEqual([8, false, 8]);
    batch.write();
    batch.clearWrites();
    expect([batch.hasSpace(size * 8), batch.hasSpace(size * 8 + 1)]).toEqual([true, false]);
    await waitFor(() => one.got.length === size * 8);
    // Of one socket, too, they are in order.
    expect(one.got).toBe(
      Array.from({ length: 8 }, (_, i) => String.fromCharCode(48 + i).repeat(size)).join(''),
    );
  });
});

describe.runIf(process.platform === 'linux')('what batches are made in', () => {
  it('is null, or none, where there is none', () => {
    expect(native.batch.open(null)).toBe(null);
    const without = openNative(() => lacking('syscall'));
    expect([...without.missing.keys()]).toEqual(['batch']);
    expect([without.batch.newContext(), without.batch.open(7)]).toEqual([null, null]);
  });

  it('does nothing once it is ended, loses no byte, and the kernel keeps nothing of it', async () => {
    const rings = () => readFileSync('/proc/self/maps', 'utf8').split('[aio]').length - 1;
    const before = rings();
    const short = native.batch.newContext() as number;
    expect(rings()).toBe(before + 1);
    const ending = native.batch.open(short) as IoBatch;
    const [one, two] = (await pairs(2)) as [Pair, Pair];
    one.peer.write('kept');
    await arrived(one);
    native.batch.endContext(short);
    expect(rings()).toBe(before);
    ending.addRead(one.fd);
    ending.addRead(two.fd);
    ending.read();
    ending.addWrite(two.fd, Buffer.from('x'), 0, 1);
    ending.write();
    expect([ending.readResult(0), ending.readResult(1), ending.writeResult(0)]).toEqual([-1, -1, -1]);
    expect(receive(one.fd)).toBe('kept');
  });
});
