import { RareMap } from '../base/rare.ts';
import { isAscii } from 'node:buffer';
import { hash } from 'node:crypto';
import type { Change } from './ledger.ts';
import type { Statement } from './statement.ts';

/**
 * What a server says of a statement: names and types of its columns, and the types of its parameters. One object for each
 * time that a server is asked; both are null until it has answered.
 */
export class StatementShape {
  rows: string | null = null;
  /** As {@link rows}, but for columns' names beyond ASCII: those are in the encoding of who asked. */
  rowsAnyhow: string | null = null;
  /** Empty: it has none. */
  parameters: string | null = null;
  parameterCount: number | null = null;
  /** client_encoding of who asked. */
  readonly encoding: string;
  /** The stretch in which it is asked for: when that fails, there is no answer. */
  readonly segment: number;

  constructor(encoding: string, segment: number) {
    this.encoding = encoding;
    this.segment = segment;
  }

  /** What the server has answered, as plain data; null: it has not. */
  get data(): ShapeData | null {
    const { rows, rowsAnyhow, parameters, parameterCount, encoding } = this;
    return rows === null ? null : { rows, rowsAnyhow, parameters, parameterCount, encoding };
  }

  /** The server has answered with the ParameterDescription of `body`. */
  describeParameters(body: Buffer): void {
    this.parameters = body.length <= 2 ? '' : hash('sha256', body, 'base64');
    this.parameterCount = body.length < 2 ? null : body.readUInt16BE(0);
  }

  /** The server has answered with the RowDescription of `body`; null: NoData. */
  describe(body: Buffer | null): void {
    this.rows = rowsDigest(body, true);
    this.rowsAnyhow = rowsDigest(body, false);
  }
}

/** A {@link StatementShape} as plain data. */
export type ShapeData = Pick<
  StatementShape,
  'rows' | 'rowsAnyhow' | 'parameters' | 'parameterCount' | 'encoding'
>;

/** What another event loop has been told by a server that is ours now. */
export function movedShape({ encoding, ...answer }: ShapeData): StatementShape {
  return Object.assign(new StatementShape(encoding, -1), answer);
}

/** Of rows that nobody knows: no others are the same. */
export const UNKNOWN = new StatementShape('', -1);

/** What a client goes by that uses a statement. */
export interface ToldShape {
  /** By what it decodes rows. */
  readonly rows: StatementShape;
  /** By what it encodes parameters; null: it was told nothing of them. */
  readonly parameters: StatementShape | null;
}

/** Whether who was told of the one decodes the rows of the other rightly. */
export function isSameRows(one: StatementShape, other: StatementShape | null): boolean {
  if (one === other) return true;
  if (one.rows === null || other === null) return false;
  return one.encoding === other.encoding ? one.rows === other.rows : one.rowsAnyhow === other.rowsAnyhow;
}

/** Whether parameters for the one are right for the other, too. */
export function isSameParameters(one: StatementShape | null, other: StatementShape | null): boolean {
  if (one === null || one === other || one.parameters === '') return true;
  return one.parameters !== null && one.parameters === other?.parameters;
}

/** Type OID, length of the type, and what modifies it. Bytes. */
const TYPE_BYTES = 4 + 2 + 4;
/** OID of the table and number of the column: another table may give the same rows. Bytes. */
const ORIGIN_BYTES = 4 + 2;
const FORMAT_BYTES = 2;
/** Stands for a name beyond ASCII. */
const UNREADABLE = Buffer.of(1, 0);

/**
 * Of the body of a RowDescription: two of the same digest have columns of the same names, types and modifiers, which
 * is what PostgreSQL compares a plan's result by; without `isWhole` names beyond ASCII are left out. Null (NoData): no
 * rows. Source: manual, `protocol-message-formats`.
 */
function rowsDigest(body: Buffer | null, isWhole: boolean): string {
  if (body === null) return '';
  const parts: Buffer[] = [];
  for (let pos = 2; pos < body.length; ) {
    const zero = body.indexOf(0, pos);
    const type = zero + 1 + ORIGIN_BYTES;
    const next = type + TYPE_BYTES + FORMAT_BYTES;
    if (zero < 0 || next > body.length) break;
    const name = body.subarray(pos, zero + 1);
    parts.push(isWhole || isAscii(name) ? name : UNREADABLE, body.subarray(type, type + TYPE_BYTES));
    pos = next;
  }
  return hash('sha256', Buffer.concat(parts), 'base64');
}

/** What holds from its request on, unless that fails. */
interface Tentative<T> {
  /** What held before that, until it is answered. */
  before: T | null;
  /** The request has failed. */
  isTakenBack: boolean;
}

interface Told extends ToldShape, Tentative<Told> {
  readonly statement: Statement;
}

/** The last of what was to hold that holds indeed. */
function lastOf<T extends Tentative<T>>(newest: T | null): T | null {
  let last = newest;
  while (last?.isTakenBack === true) last = last.before;
  return last;
}

/** A portal of a named statement. */
export interface NamedPortal extends Tentative<NamedPortal> {
  readonly name: string;
  readonly statement: Statement;
  /** What its rows are: those of the statement when it was bound; null: nobody knew. */
  readonly shape: StatementShape | null;
  /** The stretch in which it was bound. */
  readonly segment: number;
}

/** So many portals are known by name, the last ones that were bound. */
const PORTALS = 1024;

/** Portals are not known by name any more: what this one is of cannot be told. */
export const LOST = Symbol('lost');

/** What one client has been told of its statements, by its names for them. */
export class ToldShapes {
  readonly #told = new RareMap<string, Told>();
  /** The unnamed portal, most clients' only one. */
  #unnamed: NamedPortal | null = null;
  readonly #portals = new RareMap<string, NamedPortal | null>();
  /** There were more portals than {@link PORTALS}. */
  #hasLost = false;

  /** What the client has been told (or is about to be) of `statement`, its `name`; null: nothing. */
  of(name: string, statement: Statement): ToldShape | null {
    const told = this.#told.get(name);
    return told?.statement === statement ? told : null;
  }

  /**
   * It is told `shape`, of its rows alone where it asks for a portal. Null where it knew.
   */
  tell(name: string, statement: Statement, shape: StatementShape, isPortal: boolean): Change | null {
    const before = this.#told.get(name) ?? null;
    const isSame = before?.statement === statement;
    const parameters = isPortal ? (isSame ? before.parameters : null) : shape;
    if (isSame && before.rows === shape && before.parameters === parameters) return null;
    const now: Told = { statement, rows: shape, parameters, before, isTakenBack: false };
    this.#told.set(name, now);
    return {
      settle: () => {
        now.before = null;
      },
      undo: () => {
        now.isTakenBack = true;
        if (this.#told.get(name) === now) this.#put(name, now);
      },
    };
  }

  /** It is told of rows that nobody knows. */
  blur(name: string, statement: Statement): void {
    this.tell(name, statement, UNKNOWN, true);
  }

  /** `name` stands for something else from now on; null where it was told nothing. Settled, it is so for good. */
  forget(name: string): Change | null {
    if (this.#told.size === 0) return null;
    const told = this.#told.get(name);
    if (told === undefined) return null;
    this.#told.delete(name);
    return { settle: () => {}, undo: () => this.#put(name, told) };
  }

  #put(name: string, told: Told): void {
    const last = lastOf(told);
    if (last === null) this.#told.delete(name);
    else this.#told.set(name, last);
  }

  clear(): void {
    this.#told.clear();
    this.endPortals();
  }

  /** A portal is made where there is none of that name; null: of an unnamed statement. */
  bound(portal: string, of: NamedPortal | null): void {
    if (portal === '') this.#unnamed = of;
    else {
      this.#portals.delete(portal);
      if (of === null && !this.#hasLost) return;
      this.#portals.set(portal, of);
      if (this.#portals.size > PORTALS) this.#loseOldest();
    }
  }

  /** A portal is made of a named statement; if the Bind fails, the one that is there by that name stays. */
  boundAnew(portal: string, of: NamedPortal): Change {
    const before = this.portal(portal);
    of.before = before === LOST ? null : before;
    this.bound(portal, of);
    return {
      settle: () => {
        of.before = null;
      },
      undo: () => {
        of.isTakenBack = true;
        if (this.portal(portal) !== of) return;
        const last = lastOf(of);
        // It may be one that is not known any more.
        if (last === null) this.#portals.delete(portal);
        if (last !== null || portal === '') this.bound(portal, last);
      },
    };
  }

  portal(name: string): NamedPortal | null | typeof LOST {
    if (name === '') return this.#unnamed;
    const portal = this.#portals.get(name);
    return portal === undefined && this.#hasLost ? LOST : (portal ?? null);
  }

  endPortals(): void {
    this.#unnamed = null;
    this.#portals.clear();
    this.#hasLost = false;
  }

  #loseOldest(): void {
    for (const portal of this.#portals.keys()) {
      this.#portals.delete(portal);
      this.#hasLost = true;
      return;
    }
  }
}
