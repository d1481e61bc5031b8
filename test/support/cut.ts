/** One way to cut a stream of bytes into chunks, with a name for messages of failed tests. */
export interface Cutting {
  readonly name: string;
  readonly chunks: readonly Buffer[];
}

/**
 * The ways every wire test feeds its input: whole, one byte at a time, and in two at every place between.
 * Each chunk is a copy of its own, so that a reader that keeps a view of one sees no neighbour's bytes.
 */
export function* cuttings(bytes: Uint8Array): Generator<Cutting> {
  yield { name: 'whole', chunks: [Buffer.from(bytes)] };
  yield { name: 'one byte at a time', chunks: bytewise(bytes) };
  for (let at = 1; at < bytes.length; at++) {
    yield {
      name: `cut at ${at}`,
      chunks: [Buffer.from(bytes.subarray(0, at)), Buffer.from(bytes.subarray(at))],
    };
  }
}

/** One chunk per byte. */
export function bytewise(bytes: Uint8Array): Buffer[] {
  return Array.from(bytes, (byte) => Buffer.of(byte));
}

/**
 * Feeds the chunks in order and overwrites each once it has been taken: what a reader has kept without
 * copying is garbage from then on, as it is behind a reused read buffer.
 */
export function feedBorrowed(chunks: readonly Buffer[], take: (chunk: Buffer) => void): void {
  for (const chunk of chunks) {
    const lent = Buffer.from(chunk);
    take(lent);
    lent.fill(0xdd);
  }
}
