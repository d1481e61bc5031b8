import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { errorFields, frontend, message } from './peer-messages.ts';

/** Where a client goes: a TCP port of 127.0.0.1, or a unix socket. */
export type CrowdTarget = number | string;

/** Types whose bodies are looked at; all others are counted at most. */
const READ = new Set(['R', 'K', 'E'].map((type) => type.charCodeAt(0)));
const READY = 'Z'.charCodeAt(0);

/**
 * A client of which there can be a million: it counts ReadyForQuery and keeps the last of a few messages; all else passes
 * unseen. Whatever it is to say is said in as few writes as possible.
 */
export class CrowdClient {
  readonly #socket: Socket;
  /** What bytes go through; another one than `#socket` with TLS. */
  #stream: Socket;
  readonly #head = Buffer.alloc(5);
  #headBytes = 0;
  #type = 0;
  #left = 0;
  #body: Buffer[] | null = null;
  #isOver = false;
  #wake: (() => void) | null = null;
  /** How many ReadyForQuery have come. */
  readyCount = 0;
  /** ErrorResponses so far. */
  errorCount = 0;
  /** The last ErrorResponse's text. */
  lastError = '';
  /** The body of the last Authentication message that has not been answered yet. */
  challenge: Buffer | null = null;
  /** The body of BackendKeyData. */
  key: Buffer | null = null;

  constructor(target: CrowdTarget) {
    this.#socket = typeof target === 'number' ? connect(target, '127.0.0.1') : connect(target);
    this.#stream = this.#socket;
    this.#listenTo(this.#socket);
  }

  write(...parts: readonly Buffer[]): void {
    this.#stream.write(parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts));
  }

  /** Waits for so many ReadyForQuery in all. Errors: rejects when the connection ends before. */
  async ready(count: number): Promise<void> {
    await this.#until(() => this.readyCount >= count, 'ReadyForQuery');
  }

  /** Waits until the other side has closed. */
  async closed(): Promise<void> {
    while (!this.#isOver) await this.#change();
  }

  /** Says goodbye and waits until the other side has closed. */
  async end(): Promise<void> {
    this.#stream.end(frontend.terminate());
    await this.closed();
  }

  /** Is gone without a word: with a reset, where the network knows one. */
  async vanish(): Promise<void> {
    if (this.#socket.remoteFamily === undefined) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
    await this.closed();
  }

  /** Waits until the connection stands. */
  async connected(): Promise<void> {
    if (this.#socket.connecting) await new Promise((resolve) => this.#socket.once('connect', resolve));
  }

  /** Waits for an Authentication message that asks for something. Errors: as {@link ready}. */
  async challenged(): Promise<Buffer> {
    await this.#until(() => this.challenge !== null, 'a challenge');
    const body = this.challenge as Buffer;
    this.challenge = null;
    return body;
  }

  /** Goes over to TLS, whoever the other side is. Errors: rejects when that fails. */
  async encrypt(): Promise<void> {
    this.#socket.removeAllListeners('data');
    this.write(frontend.sslRequest());
    const [answer] = await new Promise<Buffer[]>((resolve, reject) => {
      this.#socket.once('data', (chunk: Buffer) => resolve([chunk]));
      this.#socket.once('close', () => reject(new Error('closed in place of an answer to SSLRequest')));
    });
    if (answer?.toString('latin1') !== 'S') throw new Error('TLS was refused');
    const secure = connectTls({ socket: this.#socket, rejectUnauthorized: false });
    this.#stream = secure;
    this.#listenTo(secure);
    await new Promise<void>((resolve, reject) => {
      secure.once('secureConnect', () => resolve());
      secure.once('close', () => reject(new Error('closed in the handshake')));
    });
  }

  #listenTo(socket: Socket): void {
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('end', () => socket.end());
    // A reset is one of the ends that are expected.
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#isOver = true;
      this.#wake?.();
    });
  }

  async #until(condition: () => boolean, what: string): Promise<void> {
    while (!condition()) {
      if (this.#isOver) throw new Error(`closed in place of ${what}: ${this.lastError}`);
      await this.#change();
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #take(chunk: Buffer): void {
    let pos = 0;
    while (pos < chunk.length) {
      if (this.#left > 0) {
        const stop = Math.min(chunk.length, pos + this.#left);
        this.#body?.push(chunk.subarray(pos, stop));
        this.#left -= stop - pos;
        pos = stop;
        if (this.#left === 0) this.#ended();
        continue;
      }
      if (this.#headBytes === 0 && chunk.length - pos >= 5) {
        this.#begin(chunk[pos] as number, chunk.readInt32BE(pos + 1));
        pos += 5;
        continue;
      }
      this.#head[this.#headBytes++] = chunk[pos++] as number;
      if (this.#headBytes < 5) continue;
      this.#headBytes = 0;
      this.#begin(this.#head[0] as number, this.#head.readInt32BE(1));
    }
    this.#wake?.();
  }

  #begin(type: number, length: number): void {
    this.#type = type;
    this.#left = length - 4;
    this.#body = READ.has(type) ? [] : null;
    if (this.#left === 0) this.#ended();
  }

  #ended(): void {
    if (this.#type === READY) this.readyCount++;
    if (this.#body === null) return;
    const body = Buffer.concat(this.#body);
    this.#body = null;
    switch (String.fromCharCode(this.#type)) {
      case 'E':
        this.errorCount++;
        this.lastError = errorFields(body)['M'] ?? '';
        break;
      case 'K':
        this.key = body;
        break;
      // AuthenticationOk asks for nothing.
      case 'R':
        if (body.readInt32BE(0) !== 0) this.challenge = body;
        break;
    }
  }
}

/** Salted passwords by password, salt and count: servers give the same salt each time. */
const salted = new Map<string, Buffer>();

/** Begins SCRAM; gives the nonce. Source: RFC 5802. */
export function scramFirst(client: CrowdClient): string {
  const nonce = randomBytes(12).toString('base64');
  const first = `n,,n=,r=${nonce}`;
  client.write(message('p', 'SCRAM-SHA-256', first.length, Buffer.from(first)));
  return nonce;
}

/** Answers AuthenticationSASLContinue. A password of null gives a proof that is none. */
export function scramFinal(
  client: CrowdClient,
  nonce: string,
  challenge: Buffer,
  password: string | null,
): void {
  const serverFirst = challenge.toString('latin1', 4);
  const [, serverNonce = '', salt = '', count = ''] = /^r=([^,]+),s=([^,]+),i=(\d+)/.exec(serverFirst) ?? [];
  const withoutProof = `c=biws,r=${serverNonce}`;
  let proof: Buffer = randomBytes(32);
  if (password !== null) {
    const known = `${password} ${salt} ${count}`;
    const key =
      salted.get(known) ?? pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(count), 32, 'sha256');
    salted.set(known, key);
    const clientKey = createHmac('sha256', key).update('Client Key').digest();
    const signature = createHmac('sha256', createHash('sha256').update(clientKey).digest())
      .update(`n=,r=${nonce},${serverFirst},${withoutProof}`)
      .digest();
    proof = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] as number)));
  }
  client.write(message('p', Buffer.from(`${withoutProof},p=${proof.toString('base64')}`)));
}
