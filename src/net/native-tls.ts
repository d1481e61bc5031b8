import { contextMaker, type TlsContextParts } from './native-tls-context.ts';
import { addressOf, allocPinned } from './pinned.ts';

/**
 * OpenSSL as Node brings it along and exports it for add-ons (Node's manual, `addons`, Linking to libraries included with
 * Node.js), without the streams that Node has on top of it. Names and numbers are those of OpenSSL's manual.
 */
export interface TlsCalls {
  /** What connections of a server are made by. Null where OpenSSL does not take the parts: Node's sockets have to do then. */
  serverContext(parts: TlsContextParts): TlsServerContext | null;
}

export interface TlsServerContext {
  /** A new session, as its server's side. Null: there is no memory. */
  accept(): TlsSession | null;
}

export const noTlsCalls: TlsCalls = { serverContext: () => null };

/** What one session has decrypted, until the next call of {@link TlsSession.open} of any. Larger than all that one read can be. */
export const PLAIN = allocPinned(96 * 1024);

/** What one session has to send, until the next call of {@link TlsSession.drain} of any. */
export const SEALED = allocPinned(64 * 1024);

/** How much is given to OpenSSL at a time, so that what it keeps does not grow with what passes: as much as a record holds. */
export const RECORD_BYTES = 16 * 1024;

/** More than {@link RECORD_BYTES} take when they are sealed, be it in records of 512 bytes (`max_fragment_length`). */
export const SEALED_RECORD_BYTES = RECORD_BYTES + 4 * 1024;

/** Short names of curves, where they are not the group's in TLS. */
const CURVES: Readonly<Record<string, string>> = {
  x25519: 'X25519',
  x448: 'X448',
  secp256r1: 'prime256v1',
};

const SSL_ERROR_WANT_READ = 2;
const SSL_ERROR_ZERO_RETURN = 6;
type Koffi = typeof import('koffi');
type Library = ReturnType<Koffi['load']>;

/** Functions of OpenSSL that sessions use, with pointers as numbers. */
type SessionCalls = ReturnType<typeof sessionCalls>;

function sessionCalls(lib: Library, koffi: Koffi) {
  const reasonOf = lib.func('str ERR_reason_error_string(unsigned long)');
  const clearErrors = lib.func('void ERR_clear_error()');
  const takeError = lib.func('unsigned long ERR_get_error()');
  const feedBuffer = lib.func('int BIO_write(uintptr_t, const void *, int)');
  const feedAt = lib.func('int BIO_write(uintptr_t, uintptr_t, int)');
  const sealBuffer = lib.func('int SSL_write(uintptr_t, const void *, int)');
  const sealAt = lib.func('int SSL_write(uintptr_t, uintptr_t, int)');
  const newBio = lib.func('uintptr_t BIO_new(uintptr_t)');
  const memory = lib.func('uintptr_t BIO_s_mem()')();
  const selected = lib.func('void SSL_get0_alpn_selected(uintptr_t, void *, void *)');
  return {
    plainAt: addressOf(koffi, PLAIN),
    sealedAt: addressOf(koffi, SEALED),
    newBio: () => Number(newBio(memory)),
    free: lib.func('void SSL_free(uintptr_t)'),
    setReadBio: lib.func('void SSL_set0_rbio(uintptr_t, uintptr_t)'),
    setWriteBio: lib.func('void SSL_set0_wbio(uintptr_t, uintptr_t)'),
    pending: lib.func('size_t BIO_ctrl_pending(uintptr_t)'),
    drain: lib.func('int BIO_read(uintptr_t, uintptr_t, int)'),
    handshake: lib.func('int SSL_do_handshake(uintptr_t)'),
    read: lib.func('int SSL_read(uintptr_t, uintptr_t, int)'),
    shutdown: lib.func('int SSL_shutdown(uintptr_t)'),
    error: lib.func('int SSL_get_error(uintptr_t, int)'),
    clearErrors,
    version: lib.func('str SSL_get_version(uintptr_t)'),
    cipher: lib.func('uintptr_t SSL_get_current_cipher(uintptr_t)'),
    cipherName: lib.func('str SSL_CIPHER_get_name(uintptr_t)'),
    groupName: lib.func('str SSL_get0_group_name(uintptr_t)'),
    hasProtocol(ssl: number): boolean {
      const length = new Uint32Array(1);
      selected(ssl, new BigUint64Array(1), length);
      return length[0] !== 0;
    },
    feed(bio: number, bytes: Buffer, start: number, end: number): number {
      const address = addressOf(koffi, bytes);
      return address === 0
        ? feedBuffer(bio, start === 0 ? bytes : bytes.subarray(start), end - start)
        : feedAt(bio, address + start, end - start);
    },
    seal(ssl: number, bytes: Buffer, start: number, end: number): number {
      const address = addressOf(koffi, bytes);
      return address === 0
        ? sealBuffer(ssl, start === 0 ? bytes : bytes.subarray(start), end - start)
        : sealAt(ssl, address + start, end - start);
    },
    /** What OpenSSL has complained of, and forgets then; shaped as Node's errors are, as far as that is read. */
    takeFailure(): Error {
      let code: number = Number(takeError());
      // The first that is about TLS says more than what has led to it.
      for (let next = code; next !== 0 && !isOfTls(code); next = Number(takeError()))
        if (isOfTls(next)) code = next;
      clearErrors();
      const reason: unknown = reasonOf(code);
      return Object.assign(new Error('TLS failed'), typeof reason === 'string' ? { reason } : {});
    },
  };
}

/** Whether an error's code is of the part of OpenSSL that does TLS (`ERR_GET_LIB`, `ERR_LIB_SSL`). */
function isOfTls(code: number): boolean {
  return ((code >>> 23) & 0xff) === 20;
}

/** Linux's, through a library that `openNative` has loaded. Throws where a function is missing. */
export function tlsCalls(lib: Library, koffi: Koffi): TlsCalls {
  const calls = sessionCalls(lib, koffi);
  const make = contextMaker(lib, koffi);
  const newSession = lib.func('uintptr_t SSL_new(uintptr_t)');
  const setBios = lib.func('void SSL_set_bio(uintptr_t, uintptr_t, uintptr_t)');
  const setAccept = lib.func('void SSL_set_accept_state(uintptr_t)');
  const freeContext = lib.func('void SSL_CTX_free(uintptr_t)');
  // Sessions hold it, too: it goes with the last of them.
  const unused = new FinalizationRegistry<number>((context) => freeContext(context));
  return {
    serverContext(parts) {
      const context = make(parts);
      calls.clearErrors();
      if (context === null) return null;
      const made: TlsServerContext = {
        accept() {
          const ssl = Number(newSession(context));
          if (ssl === 0) return null;
          const [incoming, outgoing] = [calls.newBio(), calls.newBio()];
          setBios(ssl, incoming, outgoing);
          setAccept(ssl);
          return new TlsSession(calls, ssl, incoming, outgoing);
        },
      };
      unused.register(made, context);
      return made;
    },
  };
}

/** What a call has come to that may have to wait for more of the peer's bytes. */
type Progress = 'done' | 'waits' | 'ends';

/**
 * One connection's TLS, bound to no descriptor: what the peer has sent is fed, and what is to be sent to it is drained.
 * Not to be used once it is freed.
 */
export class TlsSession {
  readonly #calls: SessionCalls;
  readonly #ssl: number;
  #incoming: number;
  #outgoing: number;
  #hasEnded = false;
  #failure: Error | null = null;

  constructor(calls: SessionCalls, ssl: number, incoming: number, outgoing: number) {
    this.#calls = calls;
    this.#ssl = ssl;
    this.#incoming = incoming;
    this.#outgoing = outgoing;
  }

  /** The peer has said that it sends no more. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** What is wrong for good, behind all that {@link open} has brought; there may be an alert to drain. */
  get failure(): Error | null {
    return this.#failure;
  }

  /** Such as `TLSv1.3`. */
  get version(): string {
    return String(this.#calls.version(this.#ssl));
  }

  /** OpenSSL's name. */
  get cipher(): string {
    return String(this.#calls.cipherName(this.#calls.cipher(this.#ssl)));
  }

  /** Of the key exchange, by OpenSSL's short name of the curve where it is one; null: it had none. */
  get group(): string | null {
    const name: unknown = this.#calls.groupName(this.#ssl);
    return typeof name === 'string' ? (CURVES[name] ?? name) : null;
  }

  /** The client has offered the context's protocol by ALPN. */
  get hasNamedProtocol(): boolean {
    return this.#calls.hasProtocol(this.#ssl);
  }

  /** Takes a copy of `bytes[start, end)`, {@link RECORD_BYTES} at most, which the peer has sent. */
  feed(bytes: Buffer, start: number, end: number): void {
    if (this.#calls.feed(this.#incoming, bytes, start, end) !== end - start)
      this.#failure = new Error('out of memory');
  }

  /** Goes on with the handshake; true once it is over. */
  handshake(): boolean {
    this.#calls.clearErrors();
    return this.#progress(this.#calls.handshake(this.#ssl)) === 'done';
  }

  /** Decrypts all that has been fed into {@link PLAIN}, from `at` on; where it ends there. */
  open(at: number): number {
    const calls = this.#calls;
    let end = at;
    calls.clearErrors();
    do {
      const count: number = calls.read(this.#ssl, calls.plainAt + end, PLAIN.length - end);
      if (this.#progress(count) !== 'done') break;
      end += count;
    } while (calls.pending(this.#incoming) > 0);
    return end;
  }

  /** Encrypts `bytes[start, end)`, {@link RECORD_BYTES} at most, to be drained. */
  seal(bytes: Buffer, start: number, end: number): void {
    if (this.#calls.seal(this.#ssl, bytes, start, end) === end - start) return;
    this.#failure = this.#calls.takeFailure();
  }

  /** Says that nothing more is sent, to be drained. */
  finish(): void {
    this.#calls.shutdown(this.#ssl);
    this.#calls.clearErrors();
  }

  /** Puts what is to be sent into {@link SEALED}, from `at` on; where it ends there. */
  drain(at: number): number {
    const count: number = this.#calls.drain(this.#outgoing, this.#calls.sealedAt + at, SEALED.length - at);
    return count > 0 ? at + count : at;
  }

  /** There is something to drain. */
  get hasSealed(): boolean {
    return this.#calls.pending(this.#outgoing) > 0;
  }

  /** Gives back memory that much traffic has taken. Everything that was fed is opened, and everything sealed is drained. */
  shrink(): void {
    const calls = this.#calls;
    if (calls.pending(this.#incoming) > 0 || calls.pending(this.#outgoing) > 0) return;
    this.#incoming = calls.newBio();
    this.#outgoing = calls.newBio();
    calls.setReadBio(this.#ssl, this.#incoming);
    calls.setWriteBio(this.#ssl, this.#outgoing);
  }

  free(): void {
    this.#calls.free(this.#ssl);
  }

  /** By what a call has answered. */
  #progress(result: number): Progress {
    if (result > 0) return 'done';
    const error: number = this.#calls.error(this.#ssl, result);
    if (error === SSL_ERROR_WANT_READ) return 'waits';
    if (error === SSL_ERROR_ZERO_RETURN) this.#hasEnded = true;
    else this.#failure = this.#calls.takeFailure();
    return 'ends';
  }
}
