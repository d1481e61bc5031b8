import { Ledger } from './ledger.ts';

/** PostgreSQL looks at this many bytes of a statement's name (NAMEDATALEN - 1). */
export const NAME_BYTES = 63;

/**
 * The prepared statements of one client by the names that it gave (latin1, at most {@link NAME_BYTES} bytes): one
 * namespace for Parse and for `PREPARE`, as PostgreSQL has it.
 */
export class ClientStatements extends Ledger<string> {
  /** What the client calls the statement with this name on servers; null: it has no name for it. */
  nameOf(serverName: string): string | null {
    for (const [name, statement] of this.entries()) if (statement.name === serverName) return name;
    return null;
  }
}
