import { connect as connectTcp, isIPv6, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import type { LdapOptions } from '../config/ldap-options.ts';
import { ldapAuthorities } from './ldap-authorities.ts';
import { ldapMessageLength, readLdapResponse, START_TLS, UNBIND } from './ldap-messages.ts';

/** Where an LDAP server is. */
export interface LdapServer {
  readonly host: string;
  readonly port: number;
}

/** What a server has answered: LDAP's resultCode, 0 for success, and the DNs of the entries that it has found. */
export interface LdapAnswer {
  readonly code: number;
  readonly names: readonly string[];
}

/** Most that a server may send to one login: what we ask for is answered in a few hundred bytes. */
const MAX_BYTES = 256 * 1024;

/**
 * A connection to an LDAP server, for one login: a request at a time, with a limit on time and bytes. What the server
 * sends is read here, and only as far as it is needed: `ldapts` runs out of memory or stack on some answers, and takes
 * what came ahead of StartTLS for part of what comes behind it. Source: RFC 4511.
 */
export class LdapConnection {
  readonly #timeoutMs: number;
  #socket: Socket;
  #gathered: Buffer = Buffer.alloc(0);
  #received = 0;
  /** Gets each whole message; null: none is due. */
  #taker: ((message: Buffer) => void) | null = null;
  #fail: (error: Error) => void = () => {};

  private constructor(socket: Socket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Connects, encrypted where the options say so: each step within `timeoutMs`. Rejects with why there is no
   * connection; no text holds a secret.
   */
  static async open(
    { scheme, startTls }: Pick<LdapOptions, 'scheme' | 'startTls'>,
    { host, port }: LdapServer,
    timeoutMs: number,
  ): Promise<LdapConnection> {
    const plain = connectTcp({ host, port });
    const connection = new LdapConnection(plain, timeoutMs);
    try {
      connection.#listen();
      await connection.#step<void>((done) => plain.once('connect', () => done()));
      if (startTls) {
        const { code } = await connection.ask(START_TLS);
        if (code !== 0) throw new Error(`the LDAP server refuses StartTLS (${code})`);
      }
      if (startTls || scheme === 'ldaps') await connection.#encrypt(host);
      return connection;
    } catch (error) {
      connection.#socket.destroy();
      throw error;
    }
  }

  /** Sends a request and waits for its last response. */
  ask(request: Buffer): Promise<LdapAnswer> {
    const names: string[] = [];
    return this.#step<LdapAnswer>((done) => {
      this.#taker = (message) => {
        const response = readLdapResponse(message, request);
        if (response.kind === 'last') done({ code: response.code, names });
        else if (response.kind === 'entry') names.push(response.name);
      };
      this.#socket.write(request);
    });
  }

  /** Says goodbye. */
  close(): void {
    this.#socket.end(UNBIND);
    this.#socket.destroySoon();
  }

  async #encrypt(host: string): Promise<void> {
    const plain = this.#socket;
    plain.off('data', this.#take);
    // Who sends bytes ahead of the handshake wants them to pass for encrypted ones.
    if (this.#gathered.length > 0) throw new Error('the LDAP server has sent bytes ahead of TLS');
    const encrypted = connectTls({ socket: plain, ...tlsOptions(host) });
    this.#socket = encrypted;
    this.#listen();
    await this.#step<void>((done) => encrypted.once('secureConnect', () => done()));
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on('data', this.#take);
    // It stays: nobody is to fall over an error that comes when nothing is waited for.
    socket.on('error', (error: Error) => this.#fail(error));
    const left = (): void => this.#fail(hungUp());
    socket.on('end', left);
    socket.on('close', left);
  }

  /** Does what `begin` does until it calls `done`, or something goes wrong, or it takes too long. */
  #step<T>(begin: (done: (value: T) => void) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const over = (): void => {
        clearTimeout(timer);
        this.#taker = null;
      };
      this.#fail = (error) => {
        over();
        reject(error);
      };
      const timer = setTimeout(() => this.#fail(new Error('no answer in time')), this.#timeoutMs);
      if (this.#socket.destroyed || this.#socket.readableEnded) {
        this.#fail(hungUp());
        return;
      }
      begin((value) => {
        over();
        resolve(value);
      });
    });
  }

  readonly #take = (chunk: Buffer): void => {
    this.#received += chunk.length;
    this.#gathered = Buffer.concat([this.#gathered, chunk]);
    try {
      if (this.#received > MAX_BYTES) throw new Error('the LDAP server sends too much');
      for (;;) {
        const length = ldapMessageLength(this.#gathered);
        // What nobody has asked for stays where it is.
        if (length === 0 || this.#taker === null) return;
        this.#taker(this.#gathered.subarray(0, length));
        this.#gathered = this.#gathered.subarray(length);
      }
    } catch (error) {
      this.#fail(error as Error);
      this.#socket.destroy();
    }
  };
}

function hungUp(): Error {
  return new Error('the LDAP server has closed the connection');
}

function tlsOptions(host: string): ConnectionOptions {
  const named = isIPv6(host) || /^[\d.]+$/.test(host) ? {} : { servername: host };
  return { secureContext: ldapAuthorities(), rejectUnauthorized: true, host, ...named };
}
