import type { SecureVersion } from 'node:tls';
import { addressOf, allocPinned } from './pinned.ts';

type Koffi = typeof import('koffi');
type Library = ReturnType<Koffi['load']>;

/** What a context is made of; the texts have been checked. */
export interface TlsContextParts {
  /** PEM: our own certificate, then those that it is signed by. */
  readonly certificates: string;
  /** PEM, without a passphrase. */
  readonly key: string;
  readonly minVersion: SecureVersion;
  readonly maxVersion: SecureVersion;
  /** As Node takes them: suites of TLS 1.3 in front, each by its name. */
  readonly ciphers: string;
  /** Names of groups; null: OpenSSL's own choice. */
  readonly groups: string | null;
  /** Whether there is Diffie-Hellman without curves. */
  readonly hasDh: boolean;
  /** Bits `SSL_OP_…`. */
  readonly options: number;
  /** What tickets are encrypted by, 80 bytes as OpenSSL has it: contexts that have the same take up each other's sessions. */
  readonly ticketKeys: Uint8Array;
  /** The one that is chosen from those which a client offers by ALPN. */
  readonly protocol: string;
}

const VERSIONS: Readonly<Record<SecureVersion, number>> = {
  TLSv1: 0x301,
  'TLSv1.1': 0x302,
  'TLSv1.2': 0x303,
  'TLSv1.3': 0x304,
};

/** `SSL_MODE_RELEASE_BUFFERS`: a connection at rest has none. */
const MODES = 0x10;
const SSL_SESS_CACHE_OFF = 0;
const SSL_TLSEXT_ERR_OK = 0;
const SSL_TLSEXT_ERR_ALERT_FATAL = 2;
const SSL_TLSEXT_ERR_NOACK = 3;

/** Commands of `SSL_CTX_ctrl`, which the manual has as functions of their own. */
const CTRL = {
  extraChainCert: 14,
  mode: 33,
  sessionCacheMode: 44,
  ticketKeys: 59,
  groupsList: 92,
  dhAuto: 118,
  minVersion: 123,
  maxVersion: 124,
} as const;

/** Makes contexts; null where OpenSSL does not take the parts. */
export function contextMaker(lib: Library, koffi: Koffi): (parts: TlsContextParts) => number | null {
  const newContext = lib.func('uintptr_t SSL_CTX_new(uintptr_t)');
  const method = lib.func('uintptr_t TLS_server_method()')();
  const free = lib.func('void SSL_CTX_free(uintptr_t)');
  const control = lib.func('long SSL_CTX_ctrl(uintptr_t, int, long, uintptr_t)');
  const controlBytes = lib.func('long SSL_CTX_ctrl(uintptr_t, int, long, void *)');
  const controlText = lib.func('long SSL_CTX_ctrl(uintptr_t, int, long, str)');
  const setOptions = lib.func('uint64_t SSL_CTX_set_options(uintptr_t, uint64_t)');
  const setSuites = lib.func('int SSL_CTX_set_ciphersuites(uintptr_t, str)');
  const setCiphers = lib.func('int SSL_CTX_set_cipher_list(uintptr_t, str)');
  const setTickets = lib.func('int SSL_CTX_set_num_tickets(uintptr_t, size_t)');
  const setProtocols = lib.func('void SSL_CTX_set_alpn_select_cb(uintptr_t, void *, uintptr_t)');
  const useCertificate = lib.func('int SSL_CTX_use_certificate(uintptr_t, uintptr_t)');
  const useKey = lib.func('int SSL_CTX_use_PrivateKey(uintptr_t, uintptr_t)');
  const readOwn = lib.func('uintptr_t PEM_read_bio_X509_AUX(uintptr_t, uintptr_t, uintptr_t, str)');
  const readNext = lib.func('uintptr_t PEM_read_bio_X509(uintptr_t, uintptr_t, uintptr_t, str)');
  const readKey = lib.func('uintptr_t PEM_read_bio_PrivateKey(uintptr_t, uintptr_t, uintptr_t, str)');
  const freeCertificate = lib.func('void X509_free(uintptr_t)');
  const freeKey = lib.func('void EVP_PKEY_free(uintptr_t)');
  const newText = lib.func('uintptr_t BIO_new_mem_buf(const void *, int)');
  const freeText = lib.func('int BIO_free(uintptr_t)');
  const choose = protocolChooser(lib, koffi);

  /** Reads one after the other, from PEM. */
  const withText = (text: string, call: (bio: number) => boolean): boolean => {
    const bytes = Buffer.from(text, 'latin1');
    const bio = Number(newText(bytes, bytes.length));
    try {
      return bio !== 0 && call(bio);
    } finally {
      freeText(bio);
      // It was read where it lies, and there are keys.
      bytes.fill(0);
    }
  };
  const addCertificates = (context: number, bio: number): boolean => {
    const own = Number(readOwn(bio, 0, 0, ''));
    if (own === 0) return false;
    const isTaken = useCertificate(context, own) === 1;
    freeCertificate(own);
    if (!isTaken) return false;
    for (;;) {
      const next = Number(readNext(bio, 0, 0, ''));
      if (next === 0) return true;
      // It is the context's then.
      if (control(context, CTRL.extraChainCert, 0, next) !== 1) {
        freeCertificate(next);
        return false;
      }
    }
  };
  const addKey = (context: number, bio: number): boolean => {
    // With a passphrase given, if an empty one, nobody is asked for it.
    const key = Number(readKey(bio, 0, 0, ''));
    if (key === 0) return false;
    const isTaken = useKey(context, key) === 1;
    freeKey(key);
    return isTaken;
  };
  const fill = (context: number, parts: TlsContextParts): boolean => {
    const names = parts.ciphers.split(':');
    const suites = names.filter((name) => name.startsWith('TLS_')).join(':');
    const older = names.filter((name) => !name.startsWith('TLS_')).join(':');
    control(context, CTRL.mode, MODES, 0);
    // Neither libpq nor PostgreSQL takes sessions up again; clients that do have the ticket that TLS makes them.
    control(context, CTRL.sessionCacheMode, SSL_SESS_CACHE_OFF, 0);
    setTickets(context, 1);
    setOptions(context, parts.options);
    return (
      (suites === '' || setSuites(context, suites) === 1) &&
      setCiphers(context, older) === 1 &&
      control(context, CTRL.minVersion, VERSIONS[parts.minVersion], 0) === 1 &&
      control(context, CTRL.maxVersion, VERSIONS[parts.maxVersion], 0) === 1 &&
      (parts.groups === null || controlText(context, CTRL.groupsList, 0, parts.groups) === 1) &&
      controlBytes(context, CTRL.ticketKeys, parts.ticketKeys.length, parts.ticketKeys) === 1 &&
      (!parts.hasDh || control(context, CTRL.dhAuto, 1, 0) === 1) &&
      withText(parts.certificates, (bio) => addCertificates(context, bio)) &&
      withText(parts.key, (bio) => addKey(context, bio))
    );
  };
  return (parts) => {
    const context = Number(newContext(method));
    if (context === 0) return null;
    if (!fill(context, parts)) {
      free(context);
      return null;
    }
    setProtocols(context, choose(parts.protocol), 0);
    return context;
  };
}

/** Longer lists there are not: their length is two bytes. */
const LIST_BYTES = 64 * 1024;

/** Where a pointer and, behind it, a length are put together. */
const ANSWER_BYTES = 16;

/**
 * Makes the function that OpenSSL asks which of a client's protocols it shall be; one for each name, there for good. It calls
 * functions of C alone: what else the library has throws where the thread is being ended, and that ends the process.
 */
function protocolChooser(lib: Library, koffi: Koffi): (protocol: string) => unknown {
  const type = koffi.pointer(
    koffi.proto(
      'int (uintptr_t ssl, uintptr_t out, uintptr_t outLength, uintptr_t offered, uint32_t length, uintptr_t arg)',
    ),
  );
  const copy = lib.func('void memcpy(uintptr_t, uintptr_t, size_t)');
  const list = allocPinned(LIST_BYTES);
  const listAt = addressOf(koffi, list);
  const answer = allocPinned(ANSWER_BYTES);
  const answerAt = addressOf(koffi, answer);
  const known = new Map<string, unknown>();
  return (protocol) => {
    const registered = known.get(protocol);
    if (registered !== undefined) return registered;
    const wanted = Buffer.from(protocol, 'latin1');
    const choose = (
      _ssl: number,
      out: number,
      outLength: number,
      offered: number,
      length: number,
    ): number => {
      if (length === 0 || length > LIST_BYTES) return SSL_TLSEXT_ERR_NOACK;
      copy(listAt, offered, length);
      const at = indexOfProtocol(list, length, wanted);
      if (at < 0) return SSL_TLSEXT_ERR_ALERT_FATAL;
      // OpenSSL copies it, from its own memory.
      answer.writeBigUInt64LE(BigInt(offered) + BigInt(at));
      answer[8] = wanted.length;
      copy(out, answerAt, 8);
      copy(outLength, answerAt + 8, 1);
      return SSL_TLSEXT_ERR_OK;
    };
    const callback: unknown = koffi.register(choose, type);
    known.set(protocol, callback);
    return callback;
  };
}

/** Where in `list[0, end)`, names with their lengths in front, `wanted` begins; -1: it is not there. */
export function indexOfProtocol(list: Buffer, end: number, wanted: Buffer): number {
  const { length } = wanted;
  for (let at = 0; at < end; at += 1 + (list[at] as number)) {
    const start = at + 1;
    if (list[at] !== length || start + length > end) continue;
    if (list.compare(wanted, 0, length, start, start + length) === 0) return start;
  }
  return -1;
}
