import { hash, randomBytes } from 'node:crypto';
import { FrontendType as F } from '../wire/codes.ts';
import { Writer } from '../wire/writer.ts';
import { hasConstants, isKnown, READ_ANYHOW, type Reading, readsConstantsOtherwise } from './reading.ts';
import type { Holder } from './ledger.ts';
import type { ReadingChange } from './sql-reading.ts';
import type { SqlStatement } from './sql-statements.ts';
import { TextBudget } from './text-budget.ts';

/**
 * How a server learns a statement: `parse` by a Parse message, `body` being that message behind the name (text,
 * zero, Int16 n, n Int32 type OIDs); `sql` by `PREPARE name`, `body` being the text behind the name.
 */
export type StatementOrigin = 'parse' | 'sql';

/** What a statement says, and how. Plain data. */
export interface StatementText {
  readonly origin: StatementOrigin;
  /** latin1. */
  readonly body: string;
  readonly reading: Reading;
}

/**
 * One statement text with its parameter types, whoever prepared it under whatever name. Servers know it by
 * `name`; clients never see that. Bytes are kept once, as a latin1 string, which is also the cache's key.
 */
export class Statement implements StatementText {
  origin: StatementOrigin = 'parse';
  /** Empty while it {@link isBlank}. */
  body = '';
  /** How it is read, wherever it is prepared. */
  reading: Reading = READ_ANYHOW;
  /** By which the cache knows it; empty while it {@link isBlank}. */
  key = '';
  /** Its name on servers. */
  readonly name: string;
  /** Name and terminating zero. Shared: don't write to it. */
  readonly nameBytes: Buffer;
  /** Executing it makes the session another user's, or may give names there that nobody has read. */
  spoilsSession = false;
  /** How its bytes are read is not known (yet), nor what it does, then. */
  isGuess = false;
  /** What executing it changes of how later texts are read. */
  setsReading: ReadingChange | null = null;
  /** What it says where executing it names or drops statements; places are those in its text. Null: it does not. */
  sql: SqlStatement | null = null;
  /** Holders: clients' names, servers' sets, changes under way. */
  users = 0;
  /** It has some that are read by parameters. */
  hasConstants = false;

  constructor(name: string) {
    this.name = name;
    this.nameBytes = Buffer.from(`${name}\0`, 'latin1');
  }

  /** A server has it that comes from another event loop, and what it says is not known here: no client has it. */
  get isBlank(): boolean {
    return this.key === '';
  }

  /** What it says. Once. */
  fill(key: string, { origin, body, reading }: StatementText): void {
    this.key = key;
    this.origin = origin;
    this.body = body;
    this.reading = reading;
    this.hasConstants = hasConstants(body);
  }

  /** Read by `now`, its constants may say something else. Where that isn't known it is one client's alone. */
  isReadOtherwise(now: Reading): boolean {
    return this.hasConstants && readsConstantsOtherwise(this.reading, now);
  }

  /** The Parse message under the name for servers. Only for `parse`. */
  parseMessage(): Buffer {
    const { nameBytes, body } = this;
    const message = Buffer.allocUnsafe(1 + 4 + nameBytes.length + body.length);
    message[0] = F.Parse;
    message.writeInt32BE(message.length - 1, 1);
    nameBytes.copy(message, 5);
    message.write(body, 5 + nameBytes.length, 'latin1');
    return message;
  }

  /** What was not known of {@link reading} when it was prepared: it is in `values`. */
  readBy(values: readonly string[]): void {
    const { values: before, key } = this.reading;
    this.reading = { values: before.map((value, i) => (isKnown(value) ? value : (values[i] ?? value))), key };
  }

  /** Its text, without what Parse has behind it; latin1. */
  get text(): string {
    const { body } = this;
    const zero = this.origin === 'parse' ? body.indexOf('\0') : -1;
    return zero < 0 ? body : body.slice(0, zero);
  }

  /** The text `PREPARE <name for servers> …`, latin1. Only for `sql`. */
  prepareText(): string {
    return `PREPARE ${this.name}${this.body}`;
  }

  /** Close for the statement under its name for servers. */
  closeMessage(): Buffer {
    return new Writer(32).begin(F.Close).byte(STATEMENT).bytes(this.nameBytes).end().take();
  }

  /** Describe, likewise. */
  describeMessage(): Buffer {
    return new Writer(32).begin(F.Describe).byte(STATEMENT).bytes(this.nameBytes).end().take();
  }
}

/** The note on a Bind or a Describe: nothing hangs on it but that it builds on a statement, by the client's name. */
export class StatementUse {
  readonly uses: Statement;
  /** The client's. */
  readonly name: string;
  readonly #kept: { end(): void } | null;

  /** `kept` ends when the request is done. */
  constructor(statement: Statement, name: string, kept: { end(): void } | null = null) {
    this.uses = statement;
    this.name = name;
    this.#kept = kept;
  }

  step(): void {
    this.#kept?.end();
  }

  end(): void {}

  nameOf(serverName: string): string | null {
    return serverName === this.uses.name ? this.name : null;
  }

  position(sent: number): number {
    return sent;
  }
}

/** With its zero: no statement has this name, on any server. */
export const NO_STATEMENT = Buffer.from(`pgweir_${randomBytes(8).toString('hex')}_none\0`, 'latin1');

/** Kind bytes of Close and Describe. */
export const STATEMENT = 0x53; // S
export const PORTAL = 0x50; // P

/** What the names of statements on servers are made of: the same in all event loops that exchange servers. Plain data. */
export interface StatementNaming {
  /** All names begin with it. Nobody outside can foresee it, so that no client can name another's statement. */
  readonly prefix: string;
  /** Without it nobody can look for two texts of one name. */
  readonly secret: string;
}

export function newStatementNaming(): StatementNaming {
  return { prefix: `pgweir_${randomBytes(4).toString('hex')}_`, secret: randomBytes(32).toString('hex') };
}

/** Hex digits of a name behind the prefix: 88 bits. With more of them the largest Bind that PostgreSQL takes would not be. */
const NAME_DIGITS = 22;

/**
 * All statements in use by anybody, one for each text with types (byte by byte the same) and way to read it (see
 * {@link StatementCache.hold}). A statement's name follows from that alone: it means the same on every server, whichever
 * event loop has had it prepared there.
 */
export class StatementCache implements Holder<Statement> {
  readonly budget = new TextBudget();
  readonly #naming: StatementNaming;
  readonly #byKey = new Map<string, Statement>();
  readonly #byName = new Map<string, Statement>();

  constructor(naming = newStatementNaming()) {
    this.#naming = naming;
  }

  get prefix(): string {
    return this.#naming.prefix;
  }

  /** Those without a text included. */
  get size(): number {
    return this.#byName.size;
  }

  /**
   * The one statement for `body` (latin1), held once more; {@link release} gives it back. `reading`: how
   * the session reads that they are from. Whether there is room for it is for
   * the caller to see, in {@link budget}.
   */
  hold(origin: StatementOrigin, body: string, reading = READ_ANYHOW): Statement {
    const key = keyOf(origin, body, reading);
    let statement = this.#byKey.get(key);
    if (statement === undefined) {
      statement = this.#named(this.#nameOf(key));
      this.#fill(statement, key, { origin, body, reading });
    }
    statement.users++;
    return statement;
  }

  /**
   * The one that servers know by `name`, which another event loop has given it, held once more. `text` is what it says;
   * null: that isn't known, nor is it where there is no room for it.
   */
  holdNamed(name: string, text: StatementText | null): Statement {
    const statement = this.#named(name);
    if (statement.isBlank && text !== null && this.budget.hasRoom(2 * text.body.length)) {
      this.#fill(statement, keyOf(text.origin, text.body, text.reading), text);
    }
    statement.users++;
    return statement;
  }

  /** The statement for `body`, if anybody holds it. */
  find(origin: StatementOrigin, body: string, reading = READ_ANYHOW): Statement | null {
    return this.#byKey.get(keyOf(origin, body, reading)) ?? null;
  }

  /** One holder more. */
  keep(statement: Statement): void {
    statement.users++;
  }

  /** One holder less; with the last one the statement is forgotten. */
  release(statement: Statement): void {
    statement.users--;
    if (statement.users > 0) return;
    this.#byName.delete(statement.name);
    if (statement.isBlank) return;
    this.#byKey.delete(statement.key);
    this.budget.usedBytes -= heldBytes(statement);
  }

  #named(name: string): Statement {
    let statement = this.#byName.get(name);
    if (statement === undefined) {
      statement = new Statement(name);
      this.#byName.set(name, statement);
    }
    return statement;
  }

  #fill(statement: Statement, key: string, text: StatementText): void {
    statement.fill(key, text);
    this.#byKey.set(key, statement);
    this.budget.usedBytes += heldBytes(statement);
  }

  #nameOf(key: string): string {
    const { prefix, secret } = this.#naming;
    return prefix + hash('sha256', `${secret}${key}`, 'hex').slice(0, NAME_DIGITS);
  }
}

/** A text stands in a statement and in its key. */
function heldBytes({ body, key }: Statement): number {
  return body.length + key.length;
}

function keyOf(origin: StatementOrigin, body: string, reading: Reading): string {
  return `${origin}${reading.key}\0${body}`;
}
