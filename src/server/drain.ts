import { randomBytes } from 'node:crypto';
import type { RequestTracker } from '../relay/request-tracker.ts';
import { FrontendType as F } from '../wire/codes.ts';
import { copyFail, execute, sync } from '../wire/frontend.ts';

/** More than this of a result that nobody wants isn't worth a connection. Bytes. */
const LIMIT_BYTES = 16 * 1024 * 1024;

/** The server connection that is drained. */
export interface DrainHost {
  readonly conn: { write(bytes: Buffer): boolean };
  readonly tracker: RequestTracker;
  /** Between transactions, every answer received, no message half sent. */
  isClean(): boolean;
  /** Nothing more is to be waited for; `isClean`: and the connection can serve others. Called once. */
  drained(isClean: boolean): void;
}

/**
 * Brings a server to rest whose client is gone; its answers are counted as ever, and dropped. What such a client has
 * left unfinished is ended as PostgreSQL itself does when a client goes: it has not happened. So a COPY IN is failed;
 * and requests without a Sync get one only behind a request that fails, for a Sync alone would commit what they have
 * done.
 */
export class Drain {
  readonly #host: DrainHost;
  #bytes = 0;
  #isOver = false;

  constructor(host: DrainHost) {
    this.#host = host;
  }

  /** The client has just gone. Sends what has to be sent for the server to come to rest. */
  begin(): void {
    const { tracker } = this.#host;
    if (tracker.isStretchOpen) {
      // Ahead of it, for Execute may have begun a COPY; PostgreSQL ignores it otherwise.
      this.#send(F.CopyFail, copyFail('client is gone'));
      this.#send(F.Execute, execute(`pgweir_client_is_gone_${randomBytes(16).toString('hex')}`));
      this.#send(F.Sync, sync);
    }
    this.took(0);
  }

  /** Another `bytes` were read and counted. */
  took(bytes: number): void {
    if (this.#isOver) return;
    const { tracker } = this.#host;
    this.#bytes += bytes;
    if (tracker.isUnsure || this.#bytes > LIMIT_BYTES) this.#end(false);
    else if (tracker.isQuiet) this.#end(this.#host.isClean());
    else if (tracker.isCopyIn && tracker.queue.copyEnds === 0) {
      this.#send(F.CopyFail, copyFail('client is gone'));
    }
  }

  #end(isClean: boolean): void {
    this.#isOver = true;
    this.#host.drained(isClean);
  }

  #send(type: number, message: Buffer): void {
    this.#host.tracker.sent(type);
    this.#host.conn.write(message);
  }
}
