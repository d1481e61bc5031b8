import type { Random } from '../support/random.ts';
import type { Target } from './target.ts';

/** Values at which lengths and counts go wrong. */
const EDGES = [
  0, 1, 2, 3, 4, 5, 7, 8, 9, 127, 128, 255, 256, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff,
];

/** A new input from one or two of `corpus`, changed in some places. */
export function mutate(random: Random, corpus: readonly Buffer[], { words, maxBytes }: Target): Buffer {
  let bytes = random.pick(corpus);
  for (let steps = 1 + random.below(random.below(8) + 1); steps > 0; steps--) {
    bytes = STEPS[random.below(STEPS.length)]?.(random, bytes, corpus, words) ?? bytes;
    if (bytes.length > maxBytes) bytes = bytes.subarray(0, maxBytes);
  }
  return Buffer.from(bytes);
}

type Step = (random: Random, bytes: Buffer, corpus: readonly Buffer[], words: readonly string[]) => Buffer;

const splice = (bytes: Buffer, at: number, drop: number, put: Buffer): Buffer =>
  Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + drop)]);

const STEPS: readonly Step[] = [
  // One bit, one byte.
  (random, bytes) => changed(bytes, random.below(bytes.length + 1), (byte) => byte ^ (1 << random.below(8))),
  (random, bytes) => changed(bytes, random.below(bytes.length + 1), () => random.below(256)),
  // Bytes put in, taken out, doubled, many times over.
  (random, bytes) => splice(bytes, random.below(bytes.length + 1), 0, random.bytes(1 + random.below(8))),
  (random, bytes) => splice(bytes, random.below(bytes.length + 1), 1 + random.below(16), Buffer.alloc(0)),
  (random, bytes) => {
    const from = random.below(bytes.length + 1);
    const piece = bytes.subarray(from, from + 1 + random.below(32));
    return splice(bytes, random.below(bytes.length + 1), 0, piece);
  },
  (random, bytes) => {
    const from = random.below(bytes.length + 1);
    const piece = bytes.subarray(from, from + 1 + random.below(4));
    return splice(bytes, from, 0, Buffer.concat(Array.from({ length: random.below(300) }, () => piece)));
  },
  // A word of the language, in place of something or between.
  (random, bytes, _corpus, words) => {
    if (words.length === 0) return bytes;
    const word = Buffer.from(random.pick(words), 'latin1');
    return splice(
      bytes,
      random.below(bytes.length + 1),
      random.below(2) * random.below(word.length + 1),
      word,
    );
  },
  // A length that is not the true one.
  (random, bytes) => {
    const width = random.pick([1, 2, 4]);
    const number = Buffer.alloc(4);
    number.writeUInt32BE(random.pick(EDGES));
    return splice(bytes, random.below(bytes.length + 1), width, number.subarray(4 - width));
  },
  // The beginning of one, the end of another.
  (random, bytes, corpus) => {
    const other = random.pick(corpus);
    return Buffer.concat([
      bytes.subarray(0, random.below(bytes.length + 1)),
      other.subarray(random.below(other.length + 1)),
    ]);
  },
  (random, bytes) => bytes.subarray(0, random.below(bytes.length + 1)),
];

function changed(bytes: Buffer, at: number, change: (byte: number) => number): Buffer {
  const copy = Buffer.from(bytes);
  if (at < copy.length) copy[at] = change(copy[at] as number);
  return copy;
}
