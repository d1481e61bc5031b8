import { parseStartupPacket, type StartupPacket } from '../wire/startup-packet.ts';

/** So many are known, and longer ones never. Bytes. */
const KEPT = 8;
const LONGEST = 1024;

interface Known {
  /** Of our own. */
  readonly bytes: Buffer;
  readonly packet: StartupPacket;
}

/**
 * StartupMessages that have been read: programs that connect over and over send the same one each time. Beside the reading,
 * that spares what names cost that are the same text each time, but never the same string. A packet tells who somebody
 * wants to be, and nothing that proves it.
 */
export class KnownStartupPackets {
  readonly #known: Known[] = [];
  /** Where the next one goes. */
  #next = 0;

  /** As `parseStartupPacket(bytes[0, length))`. */
  read(bytes: Buffer, length: number): StartupPacket {
    for (const known of this.#known) {
      if (known.bytes.length === length && bytes.compare(known.bytes, 0, length, 0, length) === 0) {
        return known.packet;
      }
    }
    const packet = parseStartupPacket(bytes.subarray(0, length));
    if (packet.kind === 'startup' && length <= LONGEST) {
      this.#known[this.#next] = { bytes: Buffer.from(bytes.subarray(0, length)), packet };
      this.#next = (this.#next + 1) % KEPT;
    }
    return packet;
  }
}
