/** A thread that does nothing but to begin TLS handshakes, until it is ended. */
import { parentPort, workerData } from 'node:worker_threads';
import { openNative } from '../../src/net/native.ts';
import type { TlsContextParts } from '../../src/net/native-tls-context.ts';

/** What it begins with. */
export interface EndingTlsStart {
  readonly parts: TlsContextParts;
  /** A client's first message, which offers protocols. */
  readonly hello: Uint8Array;
}

const { parts, hello } = workerData as EndingTlsStart;
const context = openNative().tls.serverContext(parts);
const bytes = Buffer.from(hello);

function handshake(): void {
  const session = context?.accept();
  if (session == null) throw new Error('no session');
  session.feed(bytes, 0, bytes.length);
  session.handshake();
  if (session.failure !== null) throw session.failure;
  if (!session.hasSealed) throw new Error('no answer');
  session.free();
}

handshake();
parentPort?.postMessage('has begun');
for (;;) handshake();
