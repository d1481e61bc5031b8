import { createHash } from 'node:crypto';
import { Duplex } from 'node:stream';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { openNative } from '../../src/net/native.ts';
import { indexOfProtocol, type TlsContextParts } from '../../src/net/native-tls-context.ts';
import { RECORD_BYTES, type TlsServerContext } from '../../src/net/native-tls.ts';
import type { SocketOwner } from '../../src/net/raw-socket.ts';
import { type TlsHost, TlsLayer } from '../../src/net/tls-layer.ts';
import { makeCertificate } from '../support/certificates.ts';
import { type Random, withSeed } from '../support/random.ts';
import { contextParts } from '../support/tls-context.ts';
import { waitFor } from '../support/wait-for.ts';

const { tls } = openNative();
const certificate = makeCertificate({ commonName: 'localhost' });

function contextOf(parts: Partial<TlsContextParts> = {}): TlsServerContext {
  const context = tls.serverContext(contextParts(certificate, parts));
  if (context === null) throw new Error('no context');
  return context;
}

const usual = contextOf();
const peers: TLSSocket[] = [];

afterEach(() => {
  for (const peer of peers.splice(0)) peer.destroy();
});

/** Cuts what the peer sends into what reads bring. */
type Cut = (bytes: Buffer) => Buffer[];

const whole: Cut = (bytes) => [bytes];
const byByte: Cut = (bytes) => Array.from(bytes, (_byte, at) => bytes.subarray(at, at + 1));

/** A layer whose socket is memory, and Node's TLS at its other end. */
class World implements TlsHost {
  readonly layer: TlsLayer;
  readonly peer: TLSSocket;
  readonly session;
  /** Of the layer's own. */
  readonly socket: { owner: SocketOwner | null } = { owner: null };
  isClosed = false;
  isReading = true;
  /** Called with what was opened. */
  on: () => void = () => {};
  secured = 0;
  opened: Buffer[] = [];
  ended = 0;
  failure: Error | null = null;
  /** What the peer has been told in one piece, at most. */
  largestSealed = 0;
  got: Buffer[] = [];
  peerError: Error | null = null;
  peerEnded = false;

  constructor(context: TlsServerContext, cut: Cut = whole, options: ConnectionOptions = {}) {
    const session = context.accept();
    if (session === null) throw new Error('no session');
    this.session = session;
    this.layer = new TlsLayer(session, this.socket, this, () => this.secured++);
    this.wire = new Duplex({
      read() {},
      write: (bytes: Buffer, _encoding, done) => {
        for (const piece of cut(bytes)) {
          // Borrowed: whatever it was is nobody's afterwards.
          const lent = Buffer.from(piece);
          if (!this.isClosed) this.socket.owner?.socketBytes(lent, lent.length);
          lent.fill(0xff);
        }
        done();
      },
    });
    this.peer = connect({
      socket: this.wire,
      ca: certificate.certPem,
      servername: 'localhost',
      ...options,
    });
    this.peer.on('data', (chunk: Buffer) => this.got.push(chunk));
    this.peer.on('error', (error) => {
      this.peerError = error;
    });
    this.peer.on('end', () => {
      this.peerEnded = true;
    });
    peers.push(this.peer);
  }

  readonly wire: Duplex;

  socketBytes(chunk: Buffer, end: number): void {
    this.opened.push(Buffer.from(chunk.subarray(0, end)));
    this.on();
  }
  tlsFailed(error: Error): void {
    this.isClosed = true;
    this.failure = error;
  }
  socketEnded(): void {
    this.ended++;
  }
  socketDrained(): void {}
  socketClosed(): void {
    this.isClosed = true;
  }
  tlsSealed(chunk: Buffer, end: number): boolean {
    this.largestSealed = Math.max(this.largestSealed, end);
    return this.wire.push(Buffer.from(chunk.subarray(0, end)));
  }

  get text(): string {
    return Buffer.concat(this.opened).toString('latin1');
  }

  get peerText(): string {
    return Buffer.concat(this.got).toString('latin1');
  }

  async handshake(): Promise<void> {
    await waitFor(() => this.secured === 1 && this.peer.authorized);
  }

  [Symbol.dispose](): void {
    this.isClosed = true;
    this.peer.destroy();
    this.layer.socketClosed(null);
  }
}

function sha256(parts: readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('%s', (version) => {
  const options: ConnectionOptions = { minVersion: version, maxVersion: version };

  it.each([
    ['whole', whole],
    ['cut at every byte', byByte],
  ])('shakes hands, reads and writes, %s', async (_how, cut) => {
    using world = new World(usual, cut, options);
    await world.handshake();
    expect(world.session.version).toBe(version);
    expect(world.session.cipher).toBe(world.peer.getCipher().name);
    world.peer.write('hello');
    await waitFor(() => world.text === 'hello');
    const message = Buffer.from('[welcome]');
    expect(world.layer.send(message, 1, 8)).toBe(true);
    message.fill(0);
    await waitFor(() => world.peerText === 'welcome');
    expect([world.secured, world.failure, world.layer.hiddenBytes > 0]).toEqual([1, null, true]);
  });

  it('takes and gives messages of any size, however they are cut', async () => {
    await withSeed(async (random) => {
      const cut: Cut = (bytes) => pieces(random, bytes);
      using world = new World(usual, cut, options);
      await world.handshake();
      const sent: Buffer[] = [];
      const answered: Buffer[] = [];
      for (let i = 0; i < 60; i++) {
        const message = Buffer.alloc(sizeOf(random), random.below(256));
        if (random.below(2) === 0) {
          sent.push(message);
          world.peer.write(message);
        } else {
          answered.push(Buffer.from(message));
          world.layer.send(message, 0, message.length);
          message.fill(0);
        }
        if (random.below(4) === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      const total = (parts: readonly Buffer[]): number => parts.reduce((sum, part) => sum + part.length, 0);
      await waitFor(() => total(world.opened) >= total(sent) && total(world.got) >= total(answered));
      expect(sha256(world.opened)).toBe(sha256(sent));
      expect(sha256(world.got)).toBe(sha256(answered));
      expect(world.failure).toBe(null);
    });
  });

  it('tells of a record that has been tampered with as an error, behind what came before', async () => {
    let isBad = false;
    const cut: Cut = (bytes) => {
      if (!isBad) return [bytes];
      const bad = Buffer.from(bytes);
      bad[bad.length - 1] = (bad.at(-1) as number) ^ 1;
      return [bad];
    };
    using world = new World(usual, cut, options);
    await world.handshake();
    world.peer.write('good');
    await waitFor(() => world.text === 'good');
    isBad = true;
    world.peer.write('bad');
    await waitFor(() => world.failure !== null);
    expect(world.text).toBe('good');
    expect(Reflect.get(world.failure ?? {}, 'reason')).toMatch(/bad record mac/);
    // The peer is told.
    await waitFor(() => world.peerError !== null);
    expect(world.peerError?.message).toMatch(/bad record mac/);
  });

  it('tells what came in one piece with a record that has been tampered with', async () => {
    const { cut, hold, held } = holding();
    using world = new World(usual, cut, options);
    await world.handshake();
    hold();
    world.peer.write('good');
    await waitFor(() => held().length > 0);
    const first = held().length;
    world.peer.write('bad');
    await waitFor(() => held().length > first);
    const piece = held();
    piece[piece.length - 1] = (piece.at(-1) as number) ^ 1;
    world.socket.owner?.socketBytes(piece, piece.length);
    expect(world.text).toBe('good');
    expect(Reflect.get(world.failure ?? {}, 'reason')).toMatch(/bad record mac/);
  });

  it('hears that the peer has finished once, can still answer, and says itself that nothing more comes', async () => {
    using world = new World(usual, whole, options);
    await world.handshake();
    world.peer.end('last words');
    await waitFor(() => world.ended === 1);
    world.socket.owner?.socketEnded();
    expect([world.text, world.ended]).toEqual(['last words', 1]);
    world.layer.send(Buffer.from('good bye'), 0, 8);
    world.layer.finish();
    await waitFor(() => world.peerEnded && world.peerText === 'good bye');
  });

  it('is gone over to by two that share no cipher: both are told', async () => {
    const suites = {
      ciphers: 'TLS_AES_128_GCM_SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256',
    };
    const others = { ciphers: 'TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384' };
    using world = new World(contextOf(suites), whole, { ...options, ...others });
    await waitFor(() => world.failure !== null && world.peerError !== null);
    expect(Reflect.get(world.failure ?? {}, 'reason')).toBe('no shared cipher');
    expect(world.secured).toBe(0);
  });
});

/** Lets all through until it is told to hold it back, in one piece. */
function holding(): { cut: Cut; hold: () => void; held: () => Buffer } {
  let isHeld = false;
  let held = Buffer.alloc(0);
  return {
    cut(bytes) {
      if (!isHeld) return [bytes];
      held = Buffer.concat([held, bytes]);
      return [];
    },
    hold() {
      isHeld = true;
    },
    held: () => held,
  };
}

/** How many records there are of which the type is encrypted. */
function encrypted(bytes: Buffer): number {
  let count = 0;
  for (let at = 0; at < bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) if (bytes[at] === 0x17) count++;
  return count;
}

/** Small ones, those around a record's size, and large ones. */
function sizeOf(random: Random): number {
  const kind = random.below(10);
  if (kind < 6) return 1 + random.below(300);
  if (kind < 8) return RECORD_BYTES - 3 + random.below(7);
  return 1 + random.below(200_000);
}

function pieces(random: Random, bytes: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    // No read brings more than 64 kB.
    const end = Math.min(
      bytes.length,
      at + (random.below(3) === 0 ? 1 + random.below(9) : 1 + random.below(65_536)),
    );
    found.push(bytes.subarray(at, end));
    at = end;
  }
  return found;
}

describe('by ALPN', () => {
  it.each([
    [['postgresql'], 'postgresql', true],
    [['http/1.1', 'postgresql'], 'postgresql', true],
    [undefined, false, false],
  ])('a client that offers %j gets %j', async (ALPNProtocols, chosen, hasNamed) => {
    using world = new World(usual, whole, ALPNProtocols === undefined ? {} : { ALPNProtocols });
    await world.handshake();
    expect([world.peer.alpnProtocol, world.session.hasNamedProtocol]).toEqual([chosen, hasNamed]);
  });

  it('a client that offers others alone is refused, and told so', async () => {
    using world = new World(usual, whole, { ALPNProtocols: ['http/1.1', 'postgresq'] });
    await waitFor(() => world.failure !== null && world.peerError !== null);
    expect(Reflect.get(world.failure ?? {}, 'reason')).toBe('no application protocol');
  });

  it('names are told apart by their lengths', () => {
    const find = (list: string) =>
      indexOfProtocol(Buffer.from(`${list}\x02ab`), list.length, Buffer.from('ab'));
    expect(find('\x01a\x02ab')).toBe(3);
    expect(find('\x03abc\x02b')).toBe(-1);
    expect(find('\x00\x00')).toBe(-1);
    expect(find('')).toBe(-1);
  });
});

describe('what a context is made of is in force', () => {
  it('versions', async () => {
    using world = new World(contextOf({ maxVersion: 'TLSv1.2' }));
    await world.handshake();
    expect(world.session.version).toBe('TLSv1.2');
    using refused = new World(contextOf({ minVersion: 'TLSv1.3' }), whole, { maxVersion: 'TLSv1.2' });
    await waitFor(() => refused.failure !== null);
    expect(Reflect.get(refused.failure ?? {}, 'reason')).toBe('unsupported protocol');
  });

  it('suites and groups', async () => {
    using world = new World(contextOf({ ciphers: 'TLS_CHACHA20_POLY1305_SHA256:DEFAULT', groups: 'P-384' }));
    await world.handshake();
    expect(world.session.cipher).toBe('TLS_CHACHA20_POLY1305_SHA256');
    expect(world.session.group).toBe('secp384r1');
    expect(world.peer.getEphemeralKeyInfo()).toMatchObject({ name: 'secp384r1' });
  });

  it.each([
    ['P-256', 'prime256v1'],
    ['X25519', 'X25519'],
    ['X448', 'X448'],
    ['X25519MLKEM768', 'X25519MLKEM768'],
  ])('group %s, by the name %s', async (groups, name) => {
    using world = new World(contextOf({ groups }), whole, { ecdhCurve: groups });
    await world.handshake();
    expect(world.session.group).toBe(name);
  });

  it('a chain of certificates', async () => {
    const root = makeCertificate({ commonName: 'Root', isCa: true });
    const between = makeCertificate({ commonName: 'Between', isCa: true, issuer: root });
    const own = makeCertificate({ commonName: 'localhost', issuer: between });
    const chain = `${own.certPem}\n${between.certPem}`;
    using world = new World(contextOf({ certificates: chain, key: own.keyPem }), whole, { ca: root.certPem });
    await world.handshake();
  });

  it.each<[string, Partial<TlsContextParts>]>([
    ['a key of another certificate', { key: makeCertificate().keyPem }],
    ['no certificate', { certificates: 'nothing' }],
    ['no key', { key: '' }],
    ['a cipher that there is not', { ciphers: 'NO-SUCH-CIPHER' }],
    ['a group that there is not', { groups: 'P-1' }],
  ])('and %s makes none', (_what, parts) => {
    expect(tls.serverContext(contextParts(certificate, parts))).toBe(null);
    // Nothing of it is left behind for the next one to stumble over.
    expect(tls.serverContext(contextParts(certificate))).not.toBe(null);
  });
});

it('what comes in the clear breaks the handshake', () => {
  using world = new World(usual);
  const text = Buffer.from('Q\0\0\0\x05X, in the clear');
  world.socket.owner?.socketBytes(text, text.length);
  expect(world.failure).not.toBe(null);
  expect([world.secured, world.opened.length]).toEqual([0, 0]);
});

it('nothing is sent amid a handshake, nor behind its socket’s end', async () => {
  using world = new World(usual);
  world.layer.finish();
  expect(world.layer.send(Buffer.from('x'), 0, 1)).toBe(true);
  await world.handshake();
  world.layer.socketClosed(null);
  expect(world.layer.send(Buffer.from('x'), 0, 1)).toBe(true);
  world.layer.finish();
  world.layer.socketBytes(Buffer.from('x'), 1);
  expect([world.peerText, world.failure]).toEqual(['', null]);
});

it('what a client sends at once behind its handshake is told behind it', async () => {
  const { cut, hold, held } = holding();
  using world = new World(usual, cut);
  await waitFor(() => world.layer.hiddenBytes > 0);
  hold();
  world.peer.write('startup');
  // Finished, and what it has to say.
  await waitFor(() => encrypted(held()) === 2);
  world.socket.owner?.socketBytes(held(), held().length);
  expect([world.secured, world.text]).toEqual([1, 'startup']);
});

it('a peer that gives up amid the handshake is heard to have ended', async () => {
  const { cut, hold } = holding();
  using world = new World(usual, cut, { maxVersion: 'TLSv1.2' });
  await waitFor(() => world.layer.hiddenBytes > 0);
  hold();
  const notice = Buffer.from([0x15, 3, 3, 0, 2, 1, 0]);
  world.socket.owner?.socketBytes(notice, notice.length);
  expect([world.ended, world.secured, world.failure]).toEqual([1, 0, null]);
});

it('a connection that is paused by the last bytes hears the end when it goes on', async () => {
  const { cut, hold, held } = holding();
  using world = new World(usual, cut);
  await world.handshake();
  hold();
  world.peer.write('last');
  await waitFor(() => held().length > 0);
  const first = held().length;
  world.peer.end();
  await waitFor(() => held().length > first);
  world.on = () => {
    world.isReading = false;
  };
  world.socket.owner?.socketBytes(held(), held().length);
  expect([world.text, world.ended]).toEqual(['last', 0]);
  world.isReading = true;
  world.layer.tellEnd();
  expect(world.ended).toBe(1);
});
