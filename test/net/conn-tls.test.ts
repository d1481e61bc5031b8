import { connect, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, TLSSocket } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { Conn } from '../../src/net/conn.ts';
import type { ConnHandler } from '../../src/net/conn-handler.ts';
import type { TlsServerContext } from '../../src/net/native-tls.ts';
import { openNative } from '../../src/net/native.ts';
import type { ConnSocket } from '../../src/net/raw-socket.ts';
import { makeCertificate } from '../support/certificates.ts';
import { contextParts } from '../support/tls-context.ts';
import { waitFor } from '../support/wait-for.ts';
import { ConnStage } from './conn-stage.ts';

const certificate = makeCertificate({ commonName: 'localhost' });
const context = createSecureContext({ cert: certificate.certPem, key: certificate.keyPem });
const native = openNative();
const serverContext = native.tls.serverContext(contextParts(certificate)) as TlsServerContext;

/** What a connection hears, in order. */
class Recorder implements ConnHandler {
  text = '';
  secured = 0;
  ended = false;
  closed: { error: Error | null } | null = null;
  closes = 0;
  readonly faults: unknown[] = [];
  onBytes(chunk: Buffer, end: number): void {
    this.text += chunk.toString('latin1', 0, end);
  }
  onEnd(): void {
    this.ended = true;
  }
  onDrain(): void {}
  onClosed(error: Error | null): void {
    this.closed = { error };
    this.closes++;
  }
  onFault(error: unknown): void {
    this.faults.push(error);
  }
}

const stage = new ConnStage();

const noHandler: ConnHandler = {
  onBytes() {},
  onEnd() {},
  onDrain() {},
  onClosed() {},
  onFault() {},
};

describe.each([
  ['a socket of Node’s', false],
  ['the connection’s own socket', true],
])('TLS on %s', (_what, isInPlace) => {
  const port = (): number => (isInPlace ? stage.rawPort : stage.port);
  const accept = (handler: ConnHandler, taken: (conn: Conn) => void): void => {
    const take = (socket: ConnSocket): void => taken(Conn.accept(socket, native, handler));
    if (isInPlace) stage.acceptedRaw.push(take);
    else stage.accepted.push(take);
  };

  /** A raw connection to one that goes over to TLS with the first `count` bytes that it gets. */
  async function directTls(count: number): Promise<{ conn: Conn; heard: Recorder; raw: Socket }> {
    const heard = new Recorder();
    let first = Buffer.alloc(0);
    const begins: ConnHandler = {
      ...noHandler,
      onBytes: (chunk, end) => {
        first = Buffer.concat([first, chunk.subarray(0, end)]);
        if (first.length < count) return;
        const seen = Buffer.from(first);
        conn.handler = heard;
        conn.startTls(asServer(heard), seen);
        // It is the caller's again.
        seen.fill(0);
      },
      onClosed: (error) => heard.onClosed(error),
    };
    const taken = new Promise<Conn>((resolve) => {
      accept(begins, resolve);
    });
    const raw = connect({ port: port(), host: '127.0.0.1', noDelay: true });
    raw.on('error', () => {});
    const conn = await taken;
    stage.opened.push(raw, conn.socket);
    return { conn, heard, raw };
  }

  function asServer(heard: Recorder): Parameters<Conn['startTls']>[0] {
    return {
      ...(isInPlace
        ? { inPlace: { session: () => serverContext.accept(), secured: () => heard.secured++ } }
        : {}),
      wrap: (plain) => new TLSSocket(plain, { isServer: true, secureContext: context }),
      readyEvent: 'secure',
      secured: () => {
        heard.secured++;
      },
    };
  }

  describe('direct TLS', () => {
    it('begins with bytes that were read already', async () => {
      const { conn, heard, raw } = await directTls(1);
      const peer = connectTls({ socket: raw, ca: certificate.certPem, servername: 'localhost' });
      stage.opened.push(peer);
      let answer = '';
      peer.on('data', (chunk: Buffer) => {
        answer += chunk.toString();
      });
      peer.write('hello');
      await waitFor(() => heard.text === 'hello');
      expect(heard.secured).toBe(1);
      conn.write(Buffer.from('welcome'));
      await waitFor(() => answer === 'welcome');
      expect(conn.isSecuring).toBe(false);
    });

    it('cut at each byte of the client’s first message comes to the same', async () => {
      const hello = await clientHello();
      for (let cut = 1; cut <= hello.length; cut += 7) {
        const { heard, raw } = await directTls(cut);
        const answered = new Promise<Buffer>((resolve) => raw.once('data', resolve));
        raw.write(hello.subarray(0, cut));
        raw.write(hello.subarray(cut));
        // A handshake record comes back: ServerHello.
        expect((await answered)[0]).toBe(0x16);
        expect(heard.closed).toBe(null);
        raw.destroy();
        await waitFor(() => heard.closed !== null);
      }
    });
  });

  describe('a handshake that fails', () => {
    it('closes the connection with the error, once, and nothing else is heard', async () => {
      const { conn, heard, raw } = await directTls(1);
      raw.write('\x16this is no handshake');
      await waitFor(() => heard.closed !== null);
      expect(heard.closed?.error).toBeInstanceOf(Error);
      expect(conn.isSecuring).toBe(true);
      expect([heard.closes, heard.secured, heard.ended, heard.text, heard.faults]).toEqual([
        1,
        0,
        false,
        '',
        [],
      ]);
    });

    it('for the peer has left is told like a reset, whether it has reset or finished', async () => {
      const hello = await clientHello();
      for (const leave of ['end', 'resetAndDestroy'] as const) {
        const { heard, raw } = await directTls(1);
        raw.write(hello);
        await new Promise((resolve) => raw.once('data', resolve));
        raw[leave]();
        await waitFor(() => heard.closed !== null);
        expect(Reflect.get(heard.closed?.error ?? {}, 'code')).toBe('ECONNRESET');
        expect([heard.closes, heard.ended]).toEqual([1, false]);
      }
    });

    it('for we end the connection in the middle of it is over at once, without an error', async () => {
      const { conn, heard, raw } = await directTls(1);
      raw.write((await clientHello()).subarray(0, 20));
      await waitFor(() => conn.isSecuring);
      conn.end(Buffer.from('what a client in a handshake cannot read'));
      conn.endAndDestroy();
      await waitFor(() => heard.closed !== null);
      expect([heard.closed, heard.closes, heard.text]).toEqual([{ error: null }, 1, '']);
    });

    it('for we destroy the connection has no error', async () => {
      const { conn, heard, raw } = await directTls(1);
      raw.write((await clientHello()).subarray(0, 20));
      await waitFor(() => conn.isSecuring);
      conn.destroy();
      await waitFor(() => heard.closed !== null);
      expect(heard.closed).toEqual({ error: null });
    });
  });

  describe('an encrypted connection', () => {
    async function encrypted(): Promise<{ conn: Conn; heard: Recorder; raw: Socket; peer: TLSSocket }> {
      const { conn, heard, raw } = await directTls(1);
      const peer = connectTls({ socket: raw, ca: certificate.certPem, servername: 'localhost' });
      peer.on('error', () => {});
      stage.opened.push(peer);
      peer.write('x');
      await waitFor(() => heard.text === 'x');
      return { conn, heard, raw, peer };
    }

    it('into which somebody writes in the clear ends with an error', async () => {
      const { heard, raw, conn } = await encrypted();
      // Past the peer's own TLS, as one on the way would do.
      const handle: unknown = Reflect.get(raw, '_handle');
      expect(handle).not.toBe(null);
      expect(
        native.write(Reflect.get(handle as object, 'fd') as number, Buffer.from('Q\0\0\0\x05X'), 0, 6),
      ).toBe(6);
      await waitFor(() => heard.closed !== null);
      expect(heard.closed?.error).toBeInstanceOf(Error);
      expect(heard.text).toBe('x');
      expect(conn.isClosed).toBe(true);
    });

    it('whose peer resets it ends with that error, and is closed once', async () => {
      const { heard, raw, conn } = await encrypted();
      // Where a write has heard of the reset first, a raw socket leaves it to its owner to close.
      heard.onEnd = () => conn.endAndDestroy();
      raw.resetAndDestroy();
      await waitFor(() => {
        conn.write(Buffer.from('anybody there?'));
        return heard.closed !== null;
      });
      expect(heard.closes).toBe(1);
    });

    it('whose handler throws is lost, and the process goes on', async () => {
      const { heard, peer } = await encrypted();
      const bug = new Error('a bug');
      heard.onBytes = () => {
        throw bug;
      };
      peer.write('y');
      await waitFor(() => heard.closed !== null);
      expect(heard.faults).toEqual([bug]);
    });

    it('whose peer has finished can be written to, and closes once it is ended', async () => {
      const { heard, peer, conn } = await encrypted();
      peer.allowHalfOpen = true;
      let answer = '';
      peer.on('data', (chunk: Buffer) => {
        answer += chunk.toString();
      });
      peer.end('question');
      await waitFor(() => heard.ended);
      conn.end(Buffer.from('answer'));
      await waitFor(() => heard.closed !== null && answer === 'answer');
      expect([heard.text, heard.closed]).toEqual(['xquestion', { error: null }]);
    });
  });

  it('what was written before goes out in the clear, whole and first, although nobody reads it yet', async () => {
    const heard = new Recorder();
    const taken = new Promise<Conn>((resolve) => {
      accept(heard, resolve);
    });
    const raw = connect({ port: port(), host: '127.0.0.1', noDelay: true });
    raw.pause();
    const conn = await taken;
    stage.opened.push(raw, conn.socket);
    const block = Buffer.alloc(64 * 1024, 'a');
    let total = 0;
    for (let isTaken = true; isTaken; total += block.length) isTaken = conn.forward(block, 0, block.length);
    conn.startTls(asServer(heard), null);
    let plain = 0;
    await new Promise<void>((resolve) => {
      raw.on('data', (chunk: Buffer) => {
        expect(chunk.every((byte) => byte === 0x61)).toBe(true);
        plain += chunk.length;
        if (plain === total) resolve();
      });
      raw.resume();
    });
    raw.removeAllListeners('data');
    const peer = connectTls({ socket: raw, ca: certificate.certPem, servername: 'localhost' });
    stage.opened.push(peer);
    peer.write('now encrypted');
    await waitFor(() => heard.text === 'now encrypted');
  });
});

describe.each([
  ['with native calls', native],
  ['without', null],
])('a connection made by Conn.connect %s', (_name, calls) => {
  it.each([
    ['that goes over to TLS reads and writes', certificate.certPem, true],
    [
      'to a server whose certificate is not trusted is closed with the error',
      makeCertificate().certPem,
      false,
    ],
  ])('%s', async (_what, ca, isTrusted) => {
    const heard = new Recorder();
    stage.accepted.push((socket) => {
      const tls = new TLSSocket(socket, { isServer: true, secureContext: context });
      tls.on('error', () => {});
      tls.on('data', (chunk: Buffer) => tls.write(`you said ${chunk.toString()}`));
      stage.opened.push(socket);
    });
    const conn: Conn = Conn.connect(
      { port: stage.port, host: '127.0.0.1', allowHalfOpen: true },
      heard,
      () =>
        conn.startTls(
          {
            wrap: (plain) => connectTls({ socket: plain, ca, servername: 'localhost' }),
            readyEvent: 'secureConnect',
            secured: () => {
              heard.secured++;
              conn.write(Buffer.from('hi'));
            },
          },
          null,
        ),
      calls,
    );
    if (isTrusted) {
      await waitFor(() => heard.text === 'you said hi');
      expect(heard.secured).toBe(1);
      conn.destroy();
      await waitFor(() => heard.closed !== null);
      return;
    }
    await waitFor(() => heard.closed !== null);
    expect(Reflect.get(heard.closed?.error ?? {}, 'code')).toBe('DEPTH_ZERO_SELF_SIGNED_CERT');
    expect([heard.closes, heard.secured, heard.text]).toEqual([1, 0, '']);
  });
});

/** The first message of a client's handshake. */
async function clientHello(): Promise<Buffer> {
  const taken = new Promise<Socket>((resolve) => stage.accepted.push(resolve));
  const peer = connectTls({
    port: stage.port,
    host: '127.0.0.1',
    ca: certificate.certPem,
    servername: 'localhost',
  });
  peer.on('error', () => {});
  stage.opened.push(peer);
  const socket = await taken;
  stage.opened.push(socket);
  const hello = new Promise<Buffer>((resolve) => socket.once('data', resolve));
  socket.resume();
  return hello;
}
