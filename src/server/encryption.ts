import type { Conn } from '../net/conn.ts';
import type { TlsInfo } from '../tls/info.ts';
import type { ServerTls } from '../tls/server-side.ts';
import { tlsErrorText } from '../tls/setting-error.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import { sslRequest } from '../wire/startup-message.ts';

const GRANTED = 0x53;
const REFUSED = 0x4e;

/** The connection that is to be encrypted. */
export interface EncryptionHost {
  readonly conn: Pick<Conn, 'write' | 'startTls' | 'isSecuring'>;
  /** The protocol may begin; `info` null: in the clear. */
  ready(info: TlsInfo | null): void;
  /** It cannot be had, for this reason: the connection is no use. Called from a reader. */
  refused(reason: string): void;
}

/**
 * From a TCP connection to one that is encrypted, or known to stay in the clear: SSLRequest, the server's one byte,
 * the handshake. What follows behind that byte in the clear is somebody's who wants it to pass for encrypted.
 * Source: manual, `protocol-flow`, SSL Session Encryption.
 */
export class Encryption implements ByteReader {
  readonly #host: EncryptionHost;
  readonly #tls: ServerTls;
  readonly #hostName: string;
  readonly #isRequired: boolean;

  /** `isRequired`: without TLS the connection is no use. */
  constructor(host: EncryptionHost, tls: ServerTls, hostName: string, isRequired = tls.isRequired) {
    this.#host = host;
    this.#tls = tls;
    this.#hostName = hostName;
    this.#isRequired = isRequired;
  }

  begin(): void {
    this.#host.conn.write(sslRequest);
  }

  feed(chunk: Buffer, start: number, end: number): number {
    const host = this.#host;
    const answer = chunk[start];
    if (answer !== GRANTED && answer !== REFUSED) host.refused('bad sslreq answer');
    else if (end - start > 1) host.refused('received unencrypted data after SSL response');
    else if (answer === GRANTED) this.#handshake();
    else if (this.#isRequired) host.refused('server refused SSL');
    else host.ready(null);
    return end;
  }

  /** Why the connection has failed with `error`, if it was in the handshake; `note` gets what OpenSSL says. */
  failure(error: Error | null, note: (text: string) => void): string | null {
    if (error === null || !this.#host.conn.isSecuring) return null;
    note(`TLS handshake failed: ${tlsErrorText(error)}`);
    return 'TLS handshake failed';
  }

  #handshake(): void {
    this.#host.conn.startTls(
      {
        wrap: (plain) => this.#tls.connect(plain, this.#hostName),
        readyEvent: 'secureConnect',
        secured: (socket) => this.#host.ready(this.#tls.info(socket)),
      },
      null,
    );
  }
}
