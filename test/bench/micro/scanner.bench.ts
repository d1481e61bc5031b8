import { test } from 'vitest';
import { BackendType } from '../../../src/wire/codes.ts';
import { HeaderScanner } from '../../../src/wire/scanner.ts';
import { sink } from './sink.ts';

/** Messages of `bodyBytes` each, as many as are in 64 KiB; the last one is whole. */
function chunkOf(bodyBytes: number): Buffer {
  const message = Buffer.alloc(5 + bodyBytes);
  message[0] = BackendType.DataRow;
  message.writeInt32BE(4 + bodyBytes, 1);
  return Buffer.concat(Array.from({ length: Math.floor(65_536 / message.length) }, () => message));
}

/** What a stream does with a chunk of whole messages: every header is read, every body passed over. */
function walk(scanner: HeaderScanner, chunk: Buffer, start: number, end: number): void {
  let pos = start;
  while (pos < end) {
    if (scanner.bodyLeft === 0) {
      pos = scanner.readHeader(chunk, pos, end);
      if (pos < 0) return;
    }
    const taken = Math.min(scanner.bodyLeft, end - pos);
    scanner.bodyLeft -= taken;
    pos += taken;
    sink.value += scanner.type;
  }
}

test('reading the headers of one chunk', async ({ bench }) => {
  const scanner = new HeaderScanner();
  const [rows, wide, single] = [chunkOf(40), chunkOf(1000), chunkOf(90).subarray(0, 95)];
  await bench.compare(
    bench('one answer of 95 bytes', () => walk(scanner, single, 0, single.length)),
    bench('64 KiB of rows of 45 bytes', () => walk(scanner, rows, 0, rows.length)),
    bench('64 KiB of rows of 1005 bytes', () => walk(scanner, wide, 0, wide.length)),
    bench('the same, cut inside each header', () => {
      for (let pos = 0; pos + 1005 <= wide.length; pos += 1005) {
        walk(scanner, wide, pos, pos + 3);
        walk(scanner, wide, pos + 3, pos + 1005);
      }
    }),
  );
});
