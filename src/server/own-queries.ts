import type { LogLevel } from '../base/log.ts';
import { errorText } from '../wire/error-fields.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import { query } from '../wire/frontend.ts';
import { type Fence, FenceReader, newFence } from './fence.ts';
import { OwnQuery, type OwnQueryEvents, type OwnQueryResult } from './own-query.ts';

/** The connection as its own queries see it. */
export interface OwnQueryHost extends OwnQueryEvents {
  readonly conn: { write(bytes: Buffer): boolean };
  /** Who reads from here on. */
  read(reader: ByteReader): void;
  log(level: LogLevel, message: string): void;
}

/** The queries that pgweir itself runs on one server connection, one at a time. */
export class OwnQueries {
  /** One runs, and its answers are ours. */
  isRunning = false;
  /** A fence is on its way: what comes ahead of it is the client's. */
  isProbing = false;
  readonly #host: OwnQueryHost;

  constructor(host: OwnQueryHost) {
    this.#host = host;
  }

  get isBusy(): boolean {
    return this.isRunning || this.isProbing;
  }

  /** `done` has to put another reader in charge. `errorNote` goes ahead of PostgreSQL's error in the log. */
  run(errorNote: string, sql: string, fence: Fence | null, done: (result: OwnQueryResult) => void): void {
    this.#read(errorNote, fence, done);
    this.#host.conn.write(query(sql));
  }

  /** Sends a fence; `owed` reads what the server still answers ahead of it. `done` as with {@link run}. */
  probe(owed: ByteReader, done: () => void): void {
    const fence = newFence();
    this.isProbing = true;
    this.#host.read(
      new FenceReader(fence, owed, () =>
        this.#read('probe failed', null, () => {
          this.isProbing = false;
          done();
        }),
      ),
    );
    this.#host.conn.write(query(fence.sql));
  }

  #read(errorNote: string, fence: Fence | null, done: (result: OwnQueryResult) => void): void {
    this.isRunning = true;
    this.#host.read(
      new OwnQuery(fence, this.#host, (result) => {
        this.isRunning = false;
        if (result.error !== null) this.#host.log('ERROR', `${errorNote}: ${errorText(result.error)}`);
        done(result);
      }),
    );
  }
}
