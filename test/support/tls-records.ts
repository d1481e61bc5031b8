import { createCipheriv, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:tls';
import { frontend } from './peer-messages.ts';
import { connectPeer, ScriptedPeer } from './scripted-peer.ts';
import { within } from './wait-for.ts';

const CIPHER = { name: 'TLS_AES_256_GCM_SHA384', algorithm: 'aes-256-gcm', hash: 'sha384' } as const;
const HASH_BYTES = 48;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Types of records. */
const HANDSHAKE = 22;
const APPLICATION_DATA = 23;

/** With the wish for one in return. */
const KEY_UPDATE = Buffer.from([24, 0, 0, 1, 1]);

/** A client's half of TLS 1.3 that makes records as no library does. Source: RFC 8446, 4.6.3, 5.2 to 5.4, 7.1 to 7.3. */
export class TlsRecords {
  /** Reads what is answered; nothing may be sent by it. */
  readonly peer: ScriptedPeer;
  readonly #below: ScriptedPeer;
  #secret: Buffer;
  #count = 0;

  private constructor(peer: ScriptedPeer, below: ScriptedPeer, secret: Buffer) {
    this.peer = peer;
    this.#below = below;
    this.#secret = secret;
  }

  /** Connects, asks for TLS and goes over to it. */
  static async connect(port: number): Promise<TlsRecords> {
    const below = await connectPeer(port);
    await below.send(frontend.sslRequest());
    await below.bytes(1);
    const socket = connect({
      socket: below.socket,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.3',
      ciphers: CIPHER.name,
    });
    let secret = '';
    socket.on('keylog', (line) => {
      const [name, , value] = line.toString().trim().split(' ');
      if (name === 'CLIENT_TRAFFIC_SECRET_0') secret = value ?? '';
    });
    // The other side has the end of the handshake when it gives a ticket.
    await within(once(socket, 'session'), 'a ticket');
    return new TlsRecords(new ScriptedPeer(socket), below, Buffer.from(secret, 'hex'));
  }

  send(...records: readonly Buffer[]): Promise<void> {
    return this.#below.send(...records);
  }

  data(bytes: Uint8Array, paddingBytes = 0): Buffer {
    return this.#record(APPLICATION_DATA, bytes, paddingBytes);
  }

  keyUpdate(): Buffer {
    const record = this.#record(HANDSHAKE, KEY_UPDATE, 0);
    this.#secret = this.#expand('traffic upd', HASH_BYTES);
    this.#count = 0;
    return record;
  }

  #record(type: number, content: Uint8Array, paddingBytes: number): Buffer {
    const nonce = this.#expand('iv', NONCE_BYTES);
    nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ this.#count++) >>> 0, 8);
    const inner = Buffer.concat([content, Buffer.of(type), Buffer.alloc(paddingBytes)]);
    const header = Buffer.of(APPLICATION_DATA, 3, 3, 0, 0);
    header.writeUInt16BE(inner.length + TAG_BYTES, 3);
    const cipher = createCipheriv(CIPHER.algorithm, this.#expand('key', KEY_BYTES), nonce);
    cipher.setAAD(header);
    return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
  }

  /** HKDF-Expand-Label, for what fits into one round. */
  #expand(name: string, bytes: number): Buffer {
    const label = Buffer.from(`tls13 ${name}`);
    const info = Buffer.concat([Buffer.of(0, bytes, label.length), label, Buffer.of(0, 1)]);
    return createHmac(CIPHER.hash, this.#secret).update(info).digest().subarray(0, bytes);
  }
}
