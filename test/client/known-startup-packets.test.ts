import { describe, expect, test } from 'vitest';
import { KnownStartupPackets } from '../../src/client/known-startup-packets.ts';
import { parseStartupPacket } from '../../src/wire/startup-packet.ts';
import { startupMessage } from '../../src/wire/startup-message.ts';
import { type Random, withSeed } from '../support/random.ts';

function message(random: Random): Buffer {
  const user = 'u'.repeat(1 + random.below(3));
  const application = 'x'.repeat(random.below(20) === 0 ? 2000 : random.below(3));
  return startupMessage(0, [
    ['user', user],
    ['application_name', application],
  ]);
}

describe('StartupMessages that were read before', () => {
  test('are read as if they were new, wherever they lie, whatever is behind them and has been at their place', async () => {
    await withSeed(async (random) => {
      const known = new KnownStartupPackets();
      const chunk = Buffer.alloc(4096);
      for (let round = 0; round < 2000; round++) {
        const bytes = message(random);
        bytes.copy(chunk);
        const packet = known.read(chunk, bytes.length);
        // The chunk is somebody else's by then.
        chunk.fill(random.below(256));
        expect(packet).toEqual(parseStartupPacket(bytes));
      }
    });
  });

  test('give the same strings again, if they are among the last eight and not too long', () => {
    const known = new KnownStartupPackets();
    const of = (name: string): Buffer => startupMessage(0, [['user', name]]);
    const read = (bytes: Buffer) => known.read(bytes, bytes.length);
    const first = read(of('first'));
    expect(read(of('first'))).toBe(first);
    for (let i = 0; i < 7; i++) read(of(`other ${i}`));
    expect(read(of('first'))).toBe(first);
    read(of('one too many'));
    expect(read(of('first'))).not.toBe(first);
    const long = of('x'.repeat(2000));
    expect(read(long)).not.toBe(read(long));
  });

  test('other packets are read each time: a CancelRequest has a secret in it', () => {
    const known = new KnownStartupPackets();
    const cancel = Buffer.from('0000001004d2162e0000000100000002', 'hex');
    const packet = known.read(cancel, cancel.length);
    expect(packet).toEqual({ kind: 'cancel', key: cancel.subarray(8) });
    expect(known.read(cancel, cancel.length)).not.toBe(packet);
  });
});
