import { Ledger, type LedgerChange } from './ledger.ts';
import { ToldShapes } from './statement-shape.ts';
import type { Statement } from './statement.ts';

/** PostgreSQL looks at this many bytes of a statement's name (NAMEDATALEN - 1). */
export const NAME_BYTES = 63;

/**
 * The prepared statements of one client by the names that it gave (latin1, at most {@link NAME_BYTES} bytes): one
 * namespace for Parse and for `PREPARE`, as PostgreSQL has it.
 */
export class ClientStatements extends Ledger<string, Statement> {
  readonly told = new ToldShapes();

  override set(name: string, value: Statement | null, segment: number): LedgerChange {
    const told = this.told.forget(name);
    const change = super.set(name, value, segment);
    if (told === null) return change;
    return {
      ...change,
      undo: () => {
        change.undo();
        told.undo();
      },
    };
  }

  /** The client is told of the rows of one of them that cannot be told from the others. */
  blur(): void {
    for (const [name, statement] of this.entries()) this.told.blur(name, statement);
  }

  override clear(): void {
    super.clear();
    this.told.clear();
  }

  /** What the client calls the statement with this name on servers; null: it has no name for it. */
  nameOf(serverName: string): string | null {
    for (const [name, statement] of this.entries()) if (statement.name === serverName) return name;
    return null;
  }
}
