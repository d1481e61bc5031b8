import { hash } from 'node:crypto';
import type { Statement } from './statement.ts';

/**
 * What a server says of a statement: names and types of its columns, and the types of its parameters. One object for each
 * time that a server is asked; both are null until it has answered.
 */
export class StatementShape {
  rows: string | null = null;
  /** Empty: it has none. */
  parameters: string | null = null;
}

/** What a client goes by that uses a statement. */
export interface ToldShape {
  /** By what it decodes rows. */
  readonly rows: StatementShape;
  /** By what it encodes parameters; null: it was told nothing of them. */
  readonly parameters: StatementShape | null;
}

/** Whether who was told of the one decodes the rows of the other rightly. */
export function isSameRows(one: StatementShape, other: StatementShape | null): boolean {
  return one === other || (one.rows !== null && one.rows === other?.rows);
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

/** Of the body of a ParameterDescription. */
export function parametersDigest(body: Buffer): string {
  return body.length <= 2 ? '' : hash('sha256', body, 'base64');
}

/**
 * Of the body of a RowDescription: two of the same digest have columns of the same names, types and modifiers, which
 * is what PostgreSQL compares a plan's result by. Null (NoData): no rows. Source: manual, `protocol-message-formats`.
 */
export function rowsDigest(body: Buffer | null): string {
  if (body === null) return '';
  const parts: Buffer[] = [];
  for (let pos = 2; pos < body.length; ) {
    const zero = body.indexOf(0, pos);
    const type = zero + 1 + ORIGIN_BYTES;
    const next = type + TYPE_BYTES + FORMAT_BYTES;
    if (zero < 0 || next > body.length) break;
    parts.push(body.subarray(pos, zero + 1), body.subarray(type, type + TYPE_BYTES));
    pos = next;
  }
  return hash('sha256', Buffer.concat(parts), 'base64');
}

interface Told extends ToldShape {
  readonly statement: Statement;
}

/** A portal of a named statement. */
export interface NamedPortal {
  readonly name: string;
  readonly statement: Statement;
}

/** So many portals are known by name. */
const PORTALS = 64;

/** What one client has been told of its statements, by its names for them. */
export class ToldShapes {
  readonly #told = new Map<string, Told>();
  /** The unnamed portal, most clients' only one. */
  #unnamed: NamedPortal | null = null;
  readonly #portals = new Map<string, NamedPortal>();

  /** What the client has been told (or is about to be) of `statement`, its `name`; null: nothing. */
  of(name: string, statement: Statement): ToldShape | null {
    const told = this.#told.get(name);
    return told?.statement === statement ? told : null;
  }

  /**
   * It is told `shape`, of its rows alone where it asks for a portal. Gives what takes that back, or null where it knew.
   */
  tell(name: string, statement: Statement, shape: StatementShape, isPortal: boolean): (() => void) | null {
    const before = this.#told.get(name);
    const isSame = before?.statement === statement;
    const parameters = isPortal ? (isSame ? before.parameters : null) : shape;
    if (isSame && before.rows === shape && before.parameters === parameters) return null;
    const now = { statement, rows: shape, parameters };
    this.#told.set(name, now);
    return () => {
      if (this.#told.get(name) !== now) return;
      if (before === undefined) this.#told.delete(name);
      else this.#told.set(name, before);
    };
  }

  /** The name stands for something else from now on, or the client knows that what it was told is so no more. */
  forget(name: string): void {
    if (this.#told.size > 0) this.#told.delete(name);
  }

  clear(): void {
    this.#told.clear();
    this.endPortals();
  }

  /** A portal is made; null: of an unnamed statement. */
  bound(portal: string, of: NamedPortal | null): void {
    if (portal === '') this.#unnamed = of;
    else if (of === null) this.#portals.delete(portal);
    else if (this.#portals.size < PORTALS || this.#portals.has(portal)) this.#portals.set(portal, of);
  }

  portal(name: string): NamedPortal | null {
    return name === '' ? this.#unnamed : (this.#portals.get(name) ?? null);
  }

  endPortals(): void {
    this.#unnamed = null;
    if (this.#portals.size > 0) this.#portals.clear();
  }
}
