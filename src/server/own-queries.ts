import { randomBytes } from 'node:crypto';
import type { LogLevel } from '../base/log.ts';
import type { TestPurpose } from '../pool/peers.ts';
import { type ErrorFields, errorText } from '../wire/error-fields.ts';
import { BackendType as B } from '../wire/codes.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import { closeStatement, query, sync } from '../wire/frontend.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { framed } from '../wire/writer.ts';
import { type AskedValue, readAskedValue } from './asked-values.ts';
import { type Ahead, Barrier } from './barrier.ts';
import { type Fence, newFence } from './fence.ts';
import { OwnQuery, type OwnQueryEvents, type OwnQueryResult, type RowTaker } from './own-query.ts';

/** The connection as its own queries see it. */
export interface OwnQueryHost extends OwnQueryEvents {
  readonly conn: { write(bytes: Buffer): boolean };
  /** The linked client, who has whole messages while a query of ours runs. */
  readonly sink: { write(bytes: Buffer): boolean } | null;
  /** Who reads from here on. */
  read(reader: ByteReader): void;
  log(level: LogLevel, message: string): void;
}

/** A server that is to be probed, and who hears what of it. */
export interface Probe extends Ahead {
  /** Reads what it still answers. */
  readonly owed: ByteReader;
  /** It owes at most so many ReadyForQuery. */
  readonly readies: number;
  /** Whether the client has still to end the COPY IN that the server has begun; then this was all. */
  copyBegan(): boolean;
  /** Who reads on has to be put in charge. `status`: of the transaction, which only a Sync of ours may have told. */
  done(status: number): void;
  /** The server did not get through: the link has to be ended. */
  failed(): void;
}

/** The queries that pgweir itself runs on one server connection, one at a time. */
export class OwnQueries {
  /** One runs, and its answers are ours. */
  isRunning = false;
  /** A stale plan is repaired: see PlanRepair. */
  isRepairing = false;
  /** A barrier is on its way: what comes ahead of it is the client's. */
  isProbing = false;
  /** The one that runs only asks: nobody is hurt when nobody hears the answer. */
  #question: OwnQuery | null = null;
  #barrier: Barrier | null = null;
  readonly #host: OwnQueryHost;
  readonly #events: OwnQueryEvents;

  constructor(host: OwnQueryHost) {
    this.#host = host;
    this.#events = {
      parameterStatus: (name, value) => host.parameterStatus(name, value),
      sessionTag: (tag) => host.sessionTag(tag),
      notified: (body) => this.passOn(B.NotificationResponse, body),
    };
  }

  get isBusy(): boolean {
    return this.isRunning || this.isProbing || this.isRepairing;
  }

  /** It has to end before anything else is to come of the connection. */
  get isInTheWay(): boolean {
    return this.isBusy && !this.mayBeLeft;
  }

  /** Whoever it runs for may leave: what is still to come of it can be read past. */
  get mayBeLeft(): boolean {
    return !this.isRepairing && this.#question?.atBoundary === true;
  }

  /** What has come while something of ours runs is for the linked client, if there is one. `body` is borrowed. */
  passOn(type: number, body: Buffer): void {
    this.#host.sink?.write(framed(type, body));
  }

  /** As OwnQueryEvents.ending. The client may know by it what to do; `note` goes ahead of it in the log. */
  ending(note: string, error: ErrorFields, body: Buffer): void {
    this.#failed(note, error);
    this.passOn(B.ErrorResponse, body);
  }

  /** `done` has to put another reader in charge. `errorNote` goes ahead of PostgreSQL's error in the log. */
  run(errorNote: string, sql: string, fence: Fence | null, done: (result: OwnQueryResult) => void): void {
    this.#read(errorNote, fence, done);
    this.#host.conn.write(query(sql));
  }

  /** As {@link run}, for several queries that are sent together; the first error counts. */
  runAll(errorNote: string, texts: readonly string[], done: (result: OwnQueryResult) => void): void {
    const readNext = (left: number, before: ErrorFields | null): void => {
      this.#read(errorNote, null, ({ error, isIdle }) => {
        const first = before ?? error;
        if (left > 1) readNext(left - 1, first);
        else done({ error: first, isIdle });
      });
    };
    readNext(texts.length, null);
    this.#host.conn.write(Buffer.concat(texts.map(query)));
  }

  /**
   * Asks for parameters by `sql`: askingSql or its like. `done` as with {@link run}, with what the server says of them.
   */
  ask(sql: string, done: (values: readonly AskedValue[], result: OwnQueryResult) => void): void {
    const values: AskedValue[] = [];
    const row = (body: Buffer) => values.push(readAskedValue(body));
    this.#question = this.#read('asking for parameters failed', null, (result) => done(values, result), row);
    this.#host.conn.write(query(sql));
  }

  /** Runs a reset, check or resync; `done` is told whether the server is fit for others, and the reason if it is not. */
  test(sql: string, purpose: TestPurpose, done: (ok: boolean, reason: string) => void): void {
    const fence = purpose === 'resync' ? newFence() : null;
    this.run(`${purpose} query failed`, fence === null ? sql : fence.sql, fence, (result) => {
      // Without a complete reset the last client's settings are still there, and it can have seen to that.
      const ok = result.isIdle && (purpose === 'check' || result.error === null);
      done(ok, purpose === 'reset' ? 'reset query failed' : 'test query failed');
    });
  }

  /**
   * Finds out what is owed: by Syncs and, behind their answers, a Close of a statement that there is none of. PostgreSQL
   * carries that out in a failed transaction, too, and nothing that is cancelled or times out strikes it: meanwhile all
   * that runs is the client's.
   */
  probe(probe: Probe): void {
    const syncs = probe.readies + 1;
    const { conn } = this.#host;
    this.isProbing = true;
    const barrier = new Barrier(probe.owed, syncs, probe, {
      passed: () => {
        // What comes now is read, whether or not the client takes what it has got.
        this.#host.read(barrier);
        conn.write(Buffer.concat([closeStatement(`pgweir_${randomBytes(16).toString('hex')}`), sync]));
      },
      copyBegan: () => {
        if (!probe.copyBegan()) return;
        // It ignores our Syncs; if it doesn't, LostRequests.isCountLost.
        this.#barrier = null;
        barrier.end(0);
        this.isProbing = false;
        this.#host.read(probe.owed);
      },
      closed: () => {
        this.#barrier = null;
        barrier.end(syncs);
        this.#read('probe failed', null, ({ error }) => {
          if (error !== null) return probe.failed();
          this.isProbing = false;
          probe.done(barrier.status);
        });
      },
      failed: probe.failed,
    });
    this.#barrier = barrier;
    this.#host.read(barrier);
    conn.write(Buffer.concat(new Array<Buffer>(syncs).fill(sync)));
  }

  /** The connection is gone, and its client still there: who gets what has been held for it. */
  lost(): void {
    const barrier = this.#barrier;
    this.#barrier = null;
    try {
      barrier?.lost();
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error;
    }
  }

  #read(
    errorNote: string,
    fence: Fence | null,
    done: (result: OwnQueryResult) => void,
    row: RowTaker | null = null,
  ): OwnQuery {
    this.isRunning = true;
    this.#question = null;
    const ended = (result: OwnQueryResult): void => {
      this.isRunning = false;
      this.#question = null;
      if (result.error !== null) this.#failed(errorNote, result.error);
      done(result);
    };
    const ending = (error: ErrorFields, body: Buffer) => this.ending(errorNote, error, body);
    const reader = new OwnQuery(fence, { ...this.#events, ending }, ended, row);
    this.#host.read(reader);
    return reader;
  }

  #failed(note: string, error: ErrorFields): void {
    this.#host.log('ERROR', `${note}: ${errorText(error)}`);
  }
}
