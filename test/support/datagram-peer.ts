import { closeSync, unlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { unixAddress } from '../../src/net/native-datagram.ts';
import { waitFor } from './wait-for.ts';

const MSG_DONTWAIT = 0x40;

/** Someone who listens for datagrams on a unix socket, as syslog, the journal and systemd do. Linux only. */
export class DatagramPeer implements Disposable {
  readonly address: string;
  /** What has come so far, in order, a character per byte. */
  readonly received: string[] = [];
  readonly #receive;
  readonly #buffer = Buffer.alloc(1 << 20);
  readonly fd: number;

  /** `address` is a path, or a name with `@` in front. */
  constructor(address: string) {
    this.address = address;
    const libc = (createRequire(import.meta.url)('koffi') as typeof import('koffi')).load(null);
    const socket = libc.func('int socket(int, int, int)');
    const bind = libc.func('int bind(int, const void *, uint32_t)');
    this.#receive = libc.func('long recv(int, void *, size_t, int)');
    const to = unixAddress(address);
    this.fd = socket(1, 2 | 0o2000000, 0);
    if (to === null || this.fd < 0 || bind(this.fd, to, to.length) !== 0)
      throw new Error(`cannot bind ${address}`);
  }

  /** Fetches what is there, and gives all of {@link received}. */
  all(): string[] {
    for (;;) {
      const size = Number(this.#receive(this.fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT));
      if (size < 0) return this.received;
      this.received.push(this.#buffer.toString('latin1', 0, size));
    }
  }

  /** The first datagram that the test takes for the one it waits for. */
  next(what: string, matches: (datagram: string) => boolean): Promise<string> {
    return waitFor(() => this.all().find(matches), { what });
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
    if (!this.address.startsWith('@')) unlinkSync(this.address);
  }
}
