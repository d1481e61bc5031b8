import { createHash, randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { connect, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { Acceptor } from '../../src/net/acceptor.ts';
import { openNative } from '../../src/net/native.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import { type RawSocket, turnAway } from '../../src/net/raw-socket.ts';
import { connectNow } from '../support/connect-now.ts';
import { RawListener } from '../support/raw-listener.ts';
import { waitFor } from '../support/wait-for.ts';
import { ConnStage } from './conn-stage.ts';
import { SocketRecorder } from './socket-recorder.ts';

const stage = new ConnStage();

const whole = openNative();
let sends = 0;

/** Where the kernel takes a little at a time, and sometimes nothing. */
const stingy = new ConnStage({
  ...whole,
  write(fd, bytes, start, end) {
    sends++;
    if (sends % 4 === 0) return -1;
    return whole.write(fd, bytes, start, Math.min(end, start + 1 + ((sends * 7919) % 9000)));
  },
});

/** A raw socket that is being read, and the socket at its other end. */
async function pair(at = stage): Promise<{ raw: RawSocket; heard: SocketRecorder; peer: Socket }> {
  const taken = new Promise<RawSocket>((resolve) => at.acceptedRaw.push(resolve));
  const peer = connect({ port: at.rawPort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  peer.on('error', () => {});
  const raw = await taken;
  at.opened.push(peer, raw);
  const heard = new SocketRecorder();
  raw.owner = heard;
  raw.resume();
  return { raw, heard, peer };
}

/** Writes until it is told to stop; how many bytes those were, and their hash. */
function fill(raw: RawSocket): { total: number; digest: string } {
  const hash = createHash('sha256');
  let total = 0;
  for (let isTaken = true; isTaken; ) {
    const bytes = randomBytes(1 + (total % 40_000));
    hash.update(bytes);
    total += bytes.length;
    isTaken = raw.write(bytes);
  }
  return { total, digest: hash.digest('hex') };
}

/** Reads what `peer` gets, until it has `total` bytes; their hash. */
async function digestOf(peer: Socket, total: number): Promise<string> {
  const hash = createHash('sha256');
  let received = 0;
  const take = (chunk: Buffer) => {
    hash.update(chunk);
    received += chunk.length;
  };
  peer.on('data', take);
  peer.resume();
  await waitFor(() => received >= total);
  peer.off('data', take);
  expect(received).toBe(total);
  return hash.digest('hex');
}

it('a raw socket knows both ends, and none of them once it is closed', async () => {
  const { raw, peer } = await pair();
  expect([raw.remoteAddress, raw.remotePort]).toEqual(['127.0.0.1', peer.localPort]);
  expect([raw.localAddress, raw.localPort]).toEqual(['127.0.0.1', stage.rawPort]);
  raw.destroy();
  expect([raw.fd, raw.localAddress, raw.localPort, raw.destroyed]).toEqual([-1, undefined, undefined, true]);
});

describe('a raw socket whose peer has finished', () => {
  it('can be written to, and is closed by itself once it has finished, too', async () => {
    const { raw, heard, peer } = await pair();
    let answer = '';
    let hasEnded = false;
    peer.on('data', (chunk: Buffer) => {
      answer += chunk.toString();
    });
    peer.on('end', () => {
      hasEnded = true;
    });
    peer.end('question');
    await waitFor(() => heard.log.includes('ended'));
    raw.write(Buffer.from('ans'));
    raw.end(Buffer.from('wer'));
    await waitFor(() => heard.log.includes('closed') && hasEnded);
    expect([heard.text, answer, heard.log, heard.error]).toEqual([
      'question',
      'answer',
      ['ended', 'closed'],
      null,
    ]);
  });
});

describe('a raw socket that has finished', () => {
  it('sends nothing more, reads on, and is closed by its peer’s end', async () => {
    const { raw, heard, peer } = await pair();
    let got = '';
    peer.on('data', (chunk: Buffer) => {
      got += chunk.toString();
    });
    const ends = new Promise((resolve) => peer.on('end', resolve));
    raw.end(Buffer.from('bye'));
    expect(raw.write(Buffer.from('too late'))).toBe(false);
    await ends;
    peer.write('still here');
    await waitFor(() => heard.text === 'still here');
    expect([heard.log, raw.destroyed]).toEqual([[], false]);
    peer.end();
    await waitFor(() => heard.log.includes('closed'));
    expect([got, heard.log, heard.error]).toEqual(['bye', ['ended', 'closed'], null]);
  });

  it('sends what waits for a stalled peer before the end', async () => {
    const { raw, heard, peer } = await pair();
    peer.pause();
    const { total, digest } = fill(raw);
    raw.end();
    raw.destroySoon();
    expect(raw.destroyed).toBe(false);
    const ends = new Promise((resolve) => peer.on('end', resolve));
    expect(await digestOf(peer, total)).toBe(digest);
    await ends;
    await waitFor(() => heard.log.includes('closed'));
    expect([heard.log, heard.error]).toEqual([['closed'], null]);
  });
});

describe('a raw socket whose peer doesn’t read', () => {
  it('asks for a stop at the high-water mark, and says when the queue is gone', async () => {
    const { raw, heard, peer } = await pair();
    peer.pause();
    const { total, digest } = fill(raw);
    expect(raw.writableNeedDrain).toBe(true);
    expect(raw.writableLength).toBeGreaterThanOrEqual(64 * 1024);
    expect(raw.writableLength).toBeLessThan(64 * 1024 + 40_000);
    expect(heard.log).toEqual([]);
    expect(await digestOf(peer, total)).toBe(digest);
    await waitFor(() => heard.log.includes('drained'));
    expect([raw.writableLength, raw.writableNeedDrain, heard.log]).toEqual([0, false, ['drained']]);
    // And so it goes on.
    peer.pause();
    const second = fill(raw);
    expect(await digestOf(peer, second.total)).toBe(second.digest);
  });

  it('or reads in small pieces gets everything once and in order', async () => {
    const { raw, heard, peer } = await pair(stingy);
    const hash = createHash('sha256');
    let total = 0;
    for (let i = 0; i < 300; i++) {
      const bytes = randomBytes(i % 50 === 0 ? 100_000 : (i * 37) % 500);
      hash.update(bytes);
      total += bytes.length;
      raw.write(bytes);
    }
    expect(await digestOf(peer, total)).toBe(hash.digest('hex'));
    await waitFor(() => heard.log.includes('drained'));
    expect([heard.log, raw.writableLength]).toEqual([['drained'], 0]);
  });

  it('is heard while it waits, and can wait unread', async () => {
    const { raw, heard, peer } = await pair();
    peer.pause();
    const { total, digest } = fill(raw);
    peer.write('one');
    await waitFor(() => heard.text === 'one');
    raw.pause();
    peer.write('two');
    const other = await pair();
    other.peer.write('x');
    await waitFor(() => other.heard.text === 'x');
    expect(heard.text).toBe('one');
    expect(await digestOf(peer, total)).toBe(digest);
    await waitFor(() => heard.log.includes('drained'));
    raw.resume();
    await waitFor(() => heard.text === 'onetwo');
  });

  it('and resets it: the queue is dropped, and the error told', async () => {
    const { raw, heard, peer } = await pair();
    raw.pause();
    peer.pause();
    fill(raw);
    peer.resetAndDestroy();
    await waitFor(() => heard.log.includes('closed'));
    expect(heard.log).toEqual(['closed']);
    expect(['write EPIPE', 'write ECONNRESET']).toContain(heard.error?.message);
    expect(raw.writableLength).toBe(0);
  });
});

describe('a raw socket that fails', () => {
  it('while it is read has the error that Node’s would have', async () => {
    const { heard, peer } = await pair();
    peer.resetAndDestroy();
    await waitFor(() => heard.log.includes('closed'));
    expect(heard.log).toEqual(['closed']);
    expect(heard.error).toMatchObject({
      message: 'read ECONNRESET',
      code: 'ECONNRESET',
      errno: -104,
      syscall: 'read',
    });
  });

  it('while it is written says so later, and its write asks for a stop', async () => {
    const { raw, heard, peer } = await pair();
    raw.pause();
    peer.destroy();
    // The first one is answered by a reset.
    await waitFor(() => !raw.write(Buffer.from('anybody there?')));
    expect([raw.destroyed, heard.log]).toEqual([true, []]);
    await waitFor(() => heard.log.includes('closed'));
    expect(['write EPIPE', 'write ECONNRESET']).toContain(heard.error?.message);
  });
});

describe('a raw socket that is destroyed', () => {
  it.each([
    'bytes',
    'ended',
    'drained',
  ] as const)('in its callback %s says no more but that', async (when) => {
    const { raw, heard, peer } = await pair();
    const fd = raw.fd;
    heard.on = (what) => {
      if (what === when) raw.destroy();
    };
    peer.pause();
    fill(raw);
    if (when === 'drained') peer.resume();
    else peer.end('some bytes');
    await waitFor(() => heard.log.includes('closed'));
    expect(heard.log).toEqual(when === 'bytes' ? ['closed'] : [when, 'closed']);
    expect(raw.fd).toBe(-1);
    expect(stage.native.localName(fd)?.port).not.toBe(stage.rawPort);
    raw.destroy();
    raw.end();
    raw.resume();
    raw.pause();
    raw.destroySoon();
    const other = await pair();
    other.peer.write('x');
    await waitFor(() => other.heard.text === 'x');
    expect(heard.log.filter((what) => what === 'closed')).toHaveLength(1);
  });
});

it('one that is turned away gets its last words, and is gone', async () => {
  const taken = new Promise<RawSocket>((resolve) => stage.acceptedRaw.push(resolve));
  const peer = connect(stage.rawPort, '127.0.0.1');
  stage.opened.push(peer);
  let got = '';
  peer.on('data', (chunk: Buffer) => {
    got += chunk.toString();
  });
  const ends = new Promise((resolve) => peer.on('end', resolve));
  const raw = await taken;
  turnAway(raw, Buffer.from('no'));
  expect(raw.destroyed).toBe(true);
  await ends;
  expect(got).toBe('no');
});

describe('a raw socket that becomes one of Node’s', () => {
  it('takes what is queued along, and what is unread; the number is Node’s alone', async () => {
    const { raw, heard, peer } = await pair();
    raw.pause();
    peer.write('unread');
    peer.pause();
    const { total, digest } = fill(raw);
    const { fd } = raw;
    const node = raw.toNodeSocket();
    stage.opened.push(node);
    expect([raw.fd, raw.destroyed, socketFd(node)]).toEqual([-1, true, fd]);
    // Nothing that is done to the old one reaches it.
    raw.write(Buffer.from('stray'));
    raw.end();
    raw.destroy();
    let got = '';
    node.on('data', (chunk: Buffer) => {
      got += chunk.toString();
    });
    node.resume();
    expect(await digestOf(peer, total)).toBe(digest);
    await waitFor(() => got === 'unread');
    expect(heard.log).toEqual([]);
    node.write('more');
    await new Promise((resolve) => peer.once('data', resolve));
  });
});

it('many who connect at once leave those who are connected their turn', async () => {
  const { raw, heard, peer } = await pair();
  raw.pause();
  peer.write('me, too');
  await waitFor(() => peer.bytesWritten === 7);
  const waiting = Array.from({ length: 50 }, () => connectNow({ port: stage.rawPort }));
  let accepted = 0;
  let before = -1;
  heard.on = () => {
    before = accepted;
  };
  for (const _ of waiting) {
    stage.acceptedRaw.push((socket) => {
      accepted++;
      socket.destroy();
    });
  }
  raw.resume();
  await waitFor(() => accepted === 50 && before >= 0);
  expect(before).toBeLessThanOrEqual(8);
  for (const { close } of waiting) close();
});

it('a listener that somebody else has shut down says so, once', async () => {
  using listener = new RawListener();
  const errors: (string | undefined)[] = [];
  const acceptor = Acceptor.open(stage.native, listener.fd, {
    accepted: () => {},
    failed: (error) => {
      errors.push(error.code);
      acceptor?.rest();
    },
  });
  acceptor?.watch();
  const libc = (createRequire(import.meta.url)('koffi') as typeof import('koffi')).load(null);
  expect(libc.func('int shutdown(int, int)')(listener.fd, 2)).toBe(0);
  await waitFor(() => errors.length > 0);
  const other = await pair();
  other.peer.write('x');
  await waitFor(() => other.heard.text === 'x');
  expect(errors).toEqual(['EINVAL']);
  acceptor?.close();
});
