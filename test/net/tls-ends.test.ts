import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { makeCertificate } from '../support/certificates.ts';
import { byEffort } from '../support/effort.ts';
import { withSeed } from '../support/random.ts';
import { contextParts } from '../support/tls-context.ts';
import type { EndingTlsStart } from './ending-tls.ts';

const ENDS = byEffort({ wide: 8, full: 1000 });

/** The first message of a client that offers `protocols`. */
async function clientHello(protocols: string[]): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const wire = new Duplex({
    read() {},
    write(bytes: Buffer, _encoding, done) {
      resolve(Buffer.from(bytes));
      done();
    },
  });
  const peer = connect({ socket: wire, ALPNProtocols: protocols });
  peer.on('error', () => {});
  const hello = await promise;
  peer.destroy();
  return hello;
}

/** Amid one of them, as often as not in the function that OpenSSL asks for the protocol. */
it('a thread that is ended amid handshakes ends, and nothing else does', { timeout: 300_000 }, async () => {
  const start: EndingTlsStart = {
    parts: contextParts(makeCertificate({ signature: 'ecdsa-sha256' })),
    hello: await clientHello([...Array.from({ length: 1000 }, (_, i) => `no-${i}`), 'postgresql']),
  };
  await withSeed(async (random) => {
    for (let i = 0; i < ENDS; i++) {
      const worker = new Worker(new URL('./ending-tls.ts', import.meta.url), { workerData: start });
      let failure: unknown = null;
      worker.on('error', (error) => {
        failure = error;
      });
      await once(worker, 'message');
      for (let turns = random.below(30); turns > 0; turns--) await new Promise((done) => setImmediate(done));
      await worker.terminate();
      expect(failure).toBe(null);
    }
  });
});
