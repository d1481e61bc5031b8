import { createHash, randomBytes, randomFillSync } from 'node:crypto';
import { readSync } from 'node:fs';
import { createServer, connect, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { connect as connectTls, createSecureContext, TLSSocket } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { Conn } from '../../src/net/conn.ts';
import type { ConnHandler } from '../../src/net/conn-handler.ts';
import type { Native } from '../../src/net/native.ts';
import type { TlsServerContext } from '../../src/net/native-tls.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import { makeCertificate } from '../support/certificates.ts';
import { withSeed } from '../support/random.ts';
import { contextParts } from '../support/tls-context.ts';
import { waitFor } from '../support/wait-for.ts';
import { withoutNative } from '../support/without-native.ts';
import { ConnStage } from './conn-stage.ts';

/** Collects what a connection hears. */
class Recorder implements ConnHandler {
  readonly chunks: Buffer[] = [];
  ended = false;
  drains = 0;
  closed: { error: Error | null } | null = null;
  readonly faults: unknown[] = [];
  onBytes(chunk: Buffer, end: number): void {
    this.chunks.push(Buffer.from(chunk.subarray(0, end)));
  }
  onEnd(): void {
    this.ended = true;
  }
  onDrain(): void {
    this.drains++;
  }
  onClosed(error: Error | null): void {
    this.closed = { error };
  }
  onFault(error: unknown): void {
    this.faults.push(error);
  }
  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

const stage = new ConnStage();
const withNative = stage.native;

const certificate = makeCertificate({ commonName: 'localhost' });
const context = createSecureContext({ cert: certificate.certPem, key: certificate.keyPem });

type Pair = (native: Native, handler: ConnHandler) => Promise<{ conn: Conn; peer: Socket }>;

const serverContext = withNative.tls.serverContext(contextParts(certificate)) as TlsServerContext;

const tlsPair: Pair = (native, handler) => secured(plainPair, native, handler);
const rawTlsPair: Pair = (native, handler) => secured(rawPair, native, handler);
const inPlacePair: Pair = (native, handler) => secured(rawPair, native, handler, true);

/** A connection that has gone over to TLS after its first byte, and the TLS socket at its other end. */
async function secured(
  below: Pair,
  native: Native,
  handler: ConnHandler,
  isInPlace = false,
): Promise<{ conn: Conn; peer: Socket }> {
  const plain = new Recorder();
  const { conn, peer: raw } = await below(native, plain);
  let isSecured = false;
  plain.onBytes = (chunk, end) => {
    expect([chunk[0], end]).toEqual([0x3f, 1]);
    conn.handler = handler;
    conn.write(Buffer.from('S'));
    const secured = (): void => {
      isSecured = true;
    };
    conn.startTls(
      {
        ...(isInPlace ? { inPlace: { session: () => serverContext.accept(), secured } } : {}),
        wrap: (socket) => new TLSSocket(socket, { isServer: true, secureContext: context }),
        readyEvent: 'secure',
        secured,
      },
      null,
    );
  };
  raw.write('?');
  await new Promise<void>((resolve) => {
    raw.once('data', (chunk: Buffer) => {
      expect(chunk.toString()).toBe('S');
      resolve();
    });
  });
  const peer = connectTls({ socket: raw, ca: certificate.certPem, servername: 'localhost' });
  peer.on('error', () => {});
  stage.opened.push(peer, conn.socket);
  await waitFor(() => isSecured && peer.authorized);
  return { conn, peer };
}

/** A connection taken over by `Conn.accept` and the socket at its other end, both plain. */
function plainPair(native: Native, handler: ConnHandler): Promise<{ conn: Conn; peer: Socket }> {
  const taken = new Promise<Conn>((resolve) => {
    stage.accepted.push((socket) => resolve(Conn.accept(socket, native, handler)));
  });
  return dialled(taken, stage.port);
}

/** The same on a raw socket. */
function rawPair(_native: Native, handler: ConnHandler): Promise<{ conn: Conn; peer: Socket }> {
  const taken = new Promise<Conn>((resolve) => {
    stage.acceptedRaw.push((socket) => resolve(Conn.accept(socket, stage.native, handler)));
  });
  return dialled(taken, stage.rawPort);
}

async function dialled(taken: Promise<Conn>, port: number): Promise<{ conn: Conn; peer: Socket }> {
  const peer = connect({ port, host: '127.0.0.1', noDelay: true });
  peer.on('error', () => {});
  stage.opened.push(peer);
  const conn = await taken;
  stage.opened.push(conn.socket);
  return { conn, peer };
}

/** Takes what is there out of the kernel, past the stream; 0 when nothing is. */
function readNow(socket: Socket, into: Buffer): number {
  try {
    return readSync(socketFd(socket), into);
  } catch {
    return 0;
  }
}

function sha256(bytes: Buffer | readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const part of Array.isArray(bytes) ? bytes : [bytes]) hash.update(part as Buffer);
  return hash.digest('hex');
}

/** Both kinds of connections that are read and written directly. */
const plainOnes: [string, Pair][] = [
  ['on a socket of Node', plainPair],
  ['on a raw socket', rawPair],
];
/** Those whose bytes come and go in buffers of all connections: in TLS, what is decrypted and encrypted does, too. */
const borrowingOnes: [string, Pair][] = [...plainOnes, ['over TLS, on a raw socket', inPlacePair]];

describe.each([
  ['on a raw socket', withNative, rawPair],
  ['with direct reads and writes', withNative, plainPair],
  ['as plain streams, without native calls', withoutNative, plainPair],
  ['over TLS', withNative, tlsPair],
  ['over TLS, accepted as a raw socket', withNative, rawTlsPair],
  ['over TLS, on a raw socket', withNative, inPlacePair],
  ['over TLS, without native calls', withoutNative, tlsPair],
])('an accepted connection %s', (_name, native, pair) => {
  // The handshake's bytes are none of the connection's.
  const before = [tlsPair, rawTlsPair, inPlacePair].includes(pair) ? 1 : 0;

  it('hands up what the peer sends and sends what it is given, then hears the end', async () => {
    const heard = new Recorder();
    const { conn, peer } = await pair(native, heard);
    const answers: Buffer[] = [];
    peer.on('data', (chunk: Buffer) => answers.push(chunk));
    peer.write('hello');
    await waitFor(() => heard.bytes.toString() === 'hello');
    expect(conn.bytesRead).toBe(before + 5);
    conn.write(Buffer.from('one '));
    conn.forward(Buffer.from('[two ]'), 1, 5);
    conn.end(Buffer.from('three'));
    await waitFor(() => Buffer.concat(answers).toString() === 'one two three');
    peer.end();
    await waitFor(() => heard.ended && heard.closed !== null);
    expect(heard.closed).toEqual({ error: null });
  });

  it('hears what came in front of the end, also when it was not read until then', async () => {
    const heard = new Recorder();
    const { conn, peer } = await pair(native, heard);
    conn.pause();
    const data = randomBytes(300 * 1024);
    peer.end(data);
    await waitFor(() => peer.bytesWritten > 0);
    expect(heard.chunks.length).toBe(0);
    conn.resume();
    await waitFor(() => heard.ended);
    expect(heard.bytes.equals(data)).toBe(true);
    expect(conn.bytesRead).toBe(before + data.length);
    conn.endAndDestroy();
    await waitFor(() => heard.closed !== null);
    expect(heard.closed).toEqual({ error: null });
  });

  it('hands nothing up while it is paused, from inside its own handler too', async () => {
    const heard = new Recorder();
    const { conn, peer } = await pair(native, heard);
    heard.onBytes = (chunk, end) => {
      heard.chunks.push(Buffer.from(chunk.subarray(0, end)));
      conn.pause();
    };
    peer.write('1');
    await waitFor(() => heard.bytes.toString() === '1');
    peer.write('2');
    // Another connection's bytes take the same way through the event loop.
    const other = await pair(native, new Recorder());
    other.peer.write('x');
    await waitFor(() => (other.conn.handler as Recorder).bytes.length === 1);
    expect(heard.bytes.toString()).toBe('1');
    conn.resume();
    await waitFor(() => heard.bytes.toString() === '12');
  });

  it('queues in order what a stalled reader does not take, and drains when it reads on', async () => {
    const heard = new Recorder();
    const { conn, peer } = await pair(native, heard);
    peer.pause();
    const sent = createHash('sha256');
    const scratch = Buffer.alloc(32 * 1024);
    let total = 0;
    let answer = true;
    while (answer || total < 8 * 1024 * 1024) {
      randomBytes(scratch.length).copy(scratch);
      sent.update(scratch);
      total += scratch.length;
      answer = conn.forward(scratch, 0, scratch.length);
      // The buffer is the caller's again: what was queued must not change with it.
      scratch.fill(0xee);
      expect(total).toBeLessThan(64 * 1024 * 1024);
    }
    expect(conn.isCongested).toBe(true);
    expect(conn.pendingBytes).toBeGreaterThan(0);
    const got = createHash('sha256');
    let received = 0;
    peer.on('data', (chunk: Buffer) => {
      got.update(chunk);
      received += chunk.length;
    });
    peer.resume();
    await waitFor(() => received === total);
    expect(got.digest('hex')).toBe(sent.digest('hex'));
    await waitFor(() => heard.drains === 1 && conn.pendingBytes === 0);
    expect(conn.isCongested).toBe(false);
  });

  it('stops reading on pause and goes on where it stopped', async () => {
    const heard = new Recorder();
    const { conn, peer } = await pair(native, heard);
    conn.pause();
    const data = randomBytes(300_000);
    peer.write(data);
    await waitFor(() => peer.bytesWritten > 0);
    // A full turn of the event loop of the peer's own: the bytes are there, and nobody reads them.
    const other = new Recorder();
    const second = await pair(native, other);
    second.peer.write('x');
    await waitFor(() => other.bytes.length === 1);
    expect(heard.bytes.length).toBe(0);
    conn.resume();
    await waitFor(() => heard.bytes.length === data.length);
    expect(sha256(heard.bytes)).toBe(sha256(data));
  });

  it('drops what is written after destroy, also when the descriptor has a new owner', async () => {
    const first = await pair(native, new Recorder());
    const fd = socketFd(first.conn.socket);
    first.conn.destroy();
    // The lowest free descriptor is given out next: open until the old number is in use again.
    const received: Buffer[] = [];
    let reused = false;
    for (let i = 0; i < 64 && !reused; i++) {
      const next = await pair(native, new Recorder());
      next.peer.on('data', (chunk: Buffer) => received.push(chunk));
      reused = [next.conn.socket, next.peer].some((socket) => socketFd(socket) === fd);
      expect(first.conn.write(Buffer.from('for the dead'))).toBe(true);
      expect(first.conn.forward(Buffer.from('for the dead'), 0, 12)).toBe(true);
      next.conn.write(Buffer.from('.'));
      await waitFor(() => received.length === i + 1);
    }
    expect(reused).toBe(true);
    expect(Buffer.concat(received).toString()).toMatch(/^\.+$/);
  });
});

it.each([
  ['', plainPair],
  ['on a raw socket ', rawPair],
])('what is queued %sis not overtaken, although the kernel has room again', async (_name, pair) => {
  const { conn, peer } = await pair(withNative, new Recorder());
  peer.pause();
  const block = Buffer.alloc(64 * 1024, 'a');
  let total = 0;
  for (let isTaken = true; isTaken; total += block.length) isTaken = conn.forward(block, 0, block.length);
  // Makes room in the kernel within this turn: the queue cannot move meanwhile.
  const scratch = Buffer.alloc(block.length);
  let early = 0;
  for (let read = 1; read > 0; early += read) read = readNow(peer, scratch);
  expect(early).toBeGreaterThan(0);
  expect(conn.pendingBytes).toBeGreaterThan(0);
  conn.forward(Buffer.from('last'), 0, 4);
  const rest: Buffer[] = [];
  let received = 0;
  peer.on('data', (chunk: Buffer) => {
    rest.push(chunk);
    received += chunk.length;
  });
  peer.resume();
  await waitFor(() => early + received === total + 4);
  expect(Buffer.concat(rest).toString('latin1', received - 4)).toBe('last');
});

it.each(plainOnes)('a handler that throws loses its connection and nothing else, %s', async (_name, pair) => {
  const broken = new Recorder();
  const { conn, peer } = await pair(withNative, broken);
  const bug = new Error('a bug');
  broken.onBytes = () => {
    throw bug;
  };
  const healthy = await pair(withNative, new Recorder());
  peer.write('x');
  await waitFor(() => broken.closed !== null);
  expect(broken.faults).toEqual([bug]);
  expect(conn.isClosed).toBe(true);
  healthy.peer.write('y');
  await waitFor(() => (healthy.conn.handler as Recorder).bytes.toString() === 'y');
});

it.each(
  plainOnes,
)('a connection that another one ends hears nothing more, although its bytes have come too, %s', async (_name, pair) => {
  const pairs = await Promise.all([pair(withNative, new Recorder()), pair(withNative, new Recorder())]);
  const heard = pairs.map(({ conn }) => conn.handler as Recorder);
  heard.forEach((recorder, i) => {
    recorder.onBytes = (chunk, end) => {
      recorder.chunks.push(Buffer.from(chunk.subarray(0, end)));
      pairs[1 - i]?.conn.destroy();
    };
  });
  for (const { peer } of pairs) peer.write('first come, first served');
  await waitFor(() => heard.some((recorder) => recorder.closed !== null));
  expect(heard.filter((recorder) => recorder.chunks.length > 0).length).toBe(1);
  const after = await pair(withNative, new Recorder());
  after.peer.write('y');
  await waitFor(() => (after.conn.handler as Recorder).bytes.toString() === 'y');
});

it.each(
  plainOnes,
)('a connection whose peer has finished can be written to, and closes once it is ended, %s', async (_name, pair) => {
  const heard = new Recorder();
  const { conn, peer } = await pair(withNative, heard);
  const got: Buffer[] = [];
  peer.on('data', (chunk: Buffer) => got.push(chunk));
  const closes = new Promise((resolve) => peer.on('end', resolve));
  peer.end('question');
  await waitFor(() => heard.ended);
  conn.pause();
  conn.resume();
  conn.write(Buffer.from('answer, '));
  expect(heard.closed).toBe(null);
  conn.end(Buffer.from('end'));
  await waitFor(() => heard.closed !== null);
  await closes;
  expect(heard.closed).toEqual({ error: null });
  expect([heard.bytes.toString(), Buffer.concat(got).toString()]).toEqual(['question', 'answer, end']);
});

it.each(
  plainOnes,
)('what handlers leave for the next tick runs although nothing else happens, %s', async (_name, pair) => {
  const heard = new Recorder();
  const { peer } = await pair(withNative, heard);
  const ran: string[] = [];
  heard.onBytes = () => {
    process.nextTick(() => ran.push('tick'));
    queueMicrotask(() => ran.push('microtask'));
    setImmediate(() => ran.push('immediate'));
  };
  peer.write('x');
  await waitFor(() => ran.length === 3);
  expect(ran).toEqual(['tick', 'microtask', 'immediate']);
});

it('a socket that was not paused when it was accepted loses nothing', async () => {
  const eager = createServer({ allowHalfOpen: true }, (socket) => stage.accepted.shift()?.(socket));
  await new Promise<void>((resolve) => eager.listen(0, '127.0.0.1', resolve));
  const heard = new Recorder();
  stage.accepted.push((socket) =>
    setImmediate(() => stage.opened.push(Conn.accept(socket, withNative, heard).socket)),
  );
  const peer = connect((eager.address() as AddressInfo).port, '127.0.0.1');
  stage.opened.push(peer);
  const data = randomBytes(200 * 1024);
  peer.end(data);
  await waitFor(() => heard.ended);
  expect(heard.bytes.equals(data)).toBe(true);
  eager.close();
});

it.each(
  plainOnes,
)('a write to a peer that has reset the connection ends it with an error, and nothing throws, %s', async (_name, pair) => {
  const heard = new Recorder();
  const { conn, peer } = await pair(withNative, heard);
  conn.pause();
  peer.resetAndDestroy();
  await waitFor(() => {
    conn.write(Buffer.from('anybody there?'));
    return heard.closed !== null;
  });
  expect(['ECONNRESET', 'EPIPE']).toContain((heard.closed?.error as NodeJS.ErrnoException).code);
});

it.each(
  plainOnes,
)('what the peer has said before it reset the connection is heard, although a write has failed on that first, %s', async (_name, pair) => {
  const heard = new Recorder();
  const { conn, peer } = await pair(withNative, heard);
  conn.pause();
  peer.write('last words');
  peer.resetAndDestroy();
  await new Promise((gone) => peer.once('close', gone));
  conn.resume();
  conn.write(Buffer.from('too late'));
  conn.write(Buffer.from('and again'));
  await waitFor(() => heard.closed !== null || heard.ended);
  expect(heard.bytes.toString()).toBe('last words');
  conn.destroy();
  await waitFor(() => heard.closed !== null);
});

it.each(
  borrowingOnes,
)('many connections over one read buffer: every stream arrives as it was sent, slow readers among them, %s', async (_name, pair) => {
  const pairs = 12;
  const bytesEach = 2 * 1024 * 1024;
  // Each relay forwards its client's bytes to its server's connection, as the pooler does.
  const lines = await Promise.all(
    Array.from({ length: pairs }, async (_unused, i) => {
      const out = await pair(withNative, new Recorder());
      const handler: ConnHandler = {
        onBytes: (chunk, end) => {
          // In two runs, so that borrowed parts of the buffer are queued apart.
          const cut = Math.floor(end / 3);
          out.conn.forward(chunk, 0, cut);
          if (!out.conn.forward(chunk, cut, end)) inward.conn.pause();
        },
        onEnd: () => {},
        onDrain: () => {},
        onClosed: () => {},
        onFault: () => {},
      };
      const inward = await pair(withNative, handler);
      (out.conn.handler as Recorder).onDrain = () => inward.conn.resume();
      return { out, inward, isSlow: i % 3 === 0 };
    }),
  );
  const checks = lines.map(async ({ out, inward, isSlow }) => {
    const data = randomBytes(bytesEach);
    const got = createHash('sha256');
    let received = 0;
    out.peer.on('data', (chunk: Buffer) => {
      got.update(chunk);
      received += chunk.length;
      if (isSlow && received % 7 === 0) {
        out.peer.pause();
        setImmediate(() => out.peer.resume());
      }
    });
    for (let at = 0; at < data.length; ) {
      const size = 1 + (data.readUInt16LE(at % (data.length - 2)) % 9000);
      inward.peer.write(data.subarray(at, at + size));
      at += size;
    }
    await waitFor(() => received === data.length, { deadlineMs: 20_000 });
    return got.digest('hex') === sha256(data);
  });
  expect(await Promise.all(checks)).toEqual(new Array(pairs).fill(true));
});

it.each(
  borrowingOnes,
)('many readers that stall at once, and some for longer than others, each get what was sent to them, %s', async (_name, pair) => {
  await withSeed(async (random) => {
    const lines = await Promise.all(
      Array.from({ length: 9 }, async () => {
        const { conn, peer } = await pair(withNative, new Recorder());
        const [sent, got] = [createHash('sha256'), createHash('sha256')];
        const line = { conn, peer, sent, got, sentBytes: 0, gotBytes: 0 };
        peer.on('data', (chunk: Buffer) => {
          got.update(chunk);
          line.gotBytes += chunk.length;
        });
        peer.pause();
        return line;
      }),
    );
    const scratch = Buffer.alloc(40_000);
    /** One of them takes the next piece. */
    const send = (line: (typeof lines)[number]): boolean => {
      const size = 1 + random.below(scratch.length);
      randomFillSync(scratch, 0, size);
      line.sent.update(scratch.subarray(0, size));
      line.sentBytes += size;
      expect(line.sentBytes).toBeLessThan(128 * 1024 * 1024);
      const isOpen = line.conn.forward(scratch, 0, size);
      // The buffer is the caller's again.
      scratch.fill(0xee);
      return isOpen;
    };
    /** In turns, until none of them takes any more. */
    const stall = (some: typeof lines): void => {
      for (let open = some; open.length > 0; ) open = open.filter(send);
    };
    const hasAll = ({ conn, sentBytes, gotBytes }: (typeof lines)[number]) =>
      gotBytes === sentBytes && !conn.isCongested;
    stall(lines);
    for (let round = 0; round < 3; round++) {
      // The kernel may take some more of it meanwhile, but nobody reads that.
      expect(lines.filter(hasAll).length).toBe(0);
      const reading = lines.filter(() => random.below(2) === 0);
      for (const { peer } of reading) peer.resume();
      await waitFor(() => reading.every(hasAll));
      expect(lines.filter(hasAll).length).toBe(reading.length);
      for (const { peer } of reading) peer.pause();
      stall(reading);
    }
    for (const { peer } of lines) peer.resume();
    await waitFor(() => lines.every(hasAll));
    const digests = lines.map(({ sent, got }) => [got.digest('hex'), sent.digest('hex')]);
    expect(digests.filter(([got, sent]) => got !== sent)).toEqual([]);
  });
});

describe('a peer that leaves a paused connection', () => {
  it.each([
    ['in the clear', plainPair],
    ['on a raw socket', rawPair],
    ['over TLS', tlsPair],
    ['over TLS, on a raw socket', inPlacePair],
  ])('is noticed by the native call, with bytes unread, %s', async (_name, pair) => {
    const { conn, peer } = await pair(withNative, new Recorder());
    conn.pause();
    const sentBefore = peer.bytesWritten;
    peer.write('unread');
    await waitFor(() => peer.bytesWritten === sentBefore + 6 && !withNative.hasPeerLeft(conn.socket));
    peer.destroy();
    await waitFor(() => withNative.hasPeerLeft(conn.socket));
  });

  it('is not noticed without native calls before reading goes on', async () => {
    const heard = new Recorder();
    const { conn, peer } = await plainPair(withoutNative, heard);
    conn.pause();
    peer.end('unread');
    await waitFor(() => withNative.hasPeerLeft(conn.socket));
    expect(withoutNative.hasPeerLeft(conn.socket)).toBe(false);
    expect(heard.ended).toBe(false);
    conn.resume();
    await waitFor(() => heard.ended);
    expect(heard.bytes.toString()).toBe('unread');
  });
});

describe.each([
  ['with native calls', withNative],
  ['without', null],
])('a connection made by Conn.connect %s', (_name, native) => {
  it('reports the connection, reads and writes', async () => {
    const heard = new Recorder();
    let isConnected = false;
    const arrived = new Promise<Socket>((resolve) => stage.accepted.push(resolve));
    const onConnect = () => {
      isConnected = true;
    };
    const conn = Conn.connect(
      { port: stage.port, host: '127.0.0.1', allowHalfOpen: true },
      heard,
      onConnect,
      native,
    );
    stage.opened.push(conn.socket);
    const peer = await arrived;
    stage.opened.push(peer);
    await waitFor(() => isConnected);
    peer.write('from the server');
    conn.write(Buffer.from('to the server'));
    const got: Buffer[] = [];
    peer.on('data', (chunk: Buffer) => got.push(chunk));
    peer.resume();
    await waitFor(() => heard.bytes.toString() === 'from the server');
    await waitFor(() => Buffer.concat(got).toString() === 'to the server');
    peer.end();
    await waitFor(() => heard.ended);
  });

  it('is closed with the error when nobody listens', async () => {
    const heard = new Recorder();
    const unused = createServer();
    await new Promise<void>((resolve) => unused.listen(0, '127.0.0.1', resolve));
    const { port: freePort } = unused.address() as AddressInfo;
    await new Promise<void>((resolve) => unused.close(() => resolve()));
    Conn.connect({ port: freePort, host: '127.0.0.1' }, heard, () => {
      throw new Error('connected to nobody');
    });
    await waitFor(() => heard.closed !== null);
    expect((heard.closed?.error as NodeJS.ErrnoException).code).toBe('ECONNREFUSED');
  });
});

describe.each([
  ['with native calls', withNative, plainPair],
  ['without', withoutNative, plainPair],
  ['over TLS', withNative, tlsPair],
  ['over TLS, accepted as a raw socket', withNative, rawTlsPair],
  ['over TLS, on a raw socket', withNative, inPlacePair],
])('suspend, %s', (_, native, pair) => {
  it('stops reading until wake, whatever resume says, and loses nothing', async () => {
    const handler = new Recorder();
    const { conn, peer } = await pair(native, handler);
    conn.suspend(() => true);
    expect(conn.isSuspended).toBe(true);
    peer.write('abc');
    conn.pause();
    conn.resume();
    const bystander = new Recorder();
    const other = await pair(native, bystander);
    other.peer.write('x');
    await waitFor(() => bystander.bytes.length === 1);
    expect(handler.bytes.length).toBe(0);
    conn.wake();
    await waitFor(() => handler.bytes.toString() === 'abc');
    // Paused meanwhile, it stays so.
    conn.suspend(() => true);
    conn.pause();
    conn.wake();
    peer.write('d');
    other.peer.write('y');
    await waitFor(() => bystander.bytes.length === 2);
    expect(handler.bytes.toString()).toBe('abc');
    conn.resume();
    await waitFor(() => handler.bytes.toString() === 'abcd');
  });

  it('takes effect behind the chunk after which it may', async () => {
    const handler = new Recorder();
    const { conn, peer } = await pair(native, handler);
    conn.suspend(() => handler.bytes.toString().endsWith('.'));
    expect(conn.isSuspended).toBe(false);
    peer.write('half');
    await waitFor(() => handler.bytes.length === 4);
    expect(conn.isSuspended).toBe(false);
    peer.write(' whole.');
    await waitFor(() => conn.isSuspended);
    expect(handler.bytes.toString()).toBe('half whole.');
  });

  it('waits until the peer has taken what was written', async () => {
    const { conn, peer } = await pair(native, new Recorder());
    peer.pause();
    while (conn.pendingBytes === 0) conn.write(Buffer.alloc(1024 * 1024));
    conn.suspend(() => true);
    expect(conn.isSuspended).toBe(false);
    peer.resume();
    await waitFor(() => {
      conn.suspend(() => true);
      return conn.isSuspended;
    });
    expect(conn.pendingBytes).toBe(0);
  });

  it('a connection that is ended is read to its end', async () => {
    const handler = new Recorder();
    const { conn, peer } = await pair(native, handler);
    conn.suspend(() => true);
    conn.end();
    peer.end('last');
    await waitFor(() => handler.closed !== null);
    expect(handler.bytes.toString()).toBe('last');
  });
});
