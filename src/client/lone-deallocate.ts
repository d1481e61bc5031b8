import type { ClientStatements } from '../prepared/client-statements.ts';
import type { SqlStatement } from '../prepared/sql-statements.ts';
import { readyForQuery } from '../wire/ready-for-query.ts';
import { commandComplete } from '../wire/result.ts';

/** What needs no server, with nothing owed: the answer to a lone DEALLOCATE, which this carries out. */
export function answerDeallocate(
  mine: ClientStatements,
  statements: readonly SqlStatement[],
  txStatus: number,
): Buffer | null {
  const [statement] = statements;
  if (statement === undefined || statements.length !== 1) return null;
  if (statement.kind === 'deallocate-all') {
    mine.clear();
    return Buffer.concat([commandComplete('DEALLOCATE ALL'), readyForQuery(txStatus)]);
  }
  if (statement.kind !== 'deallocate' || !mine.holds(statement.name)) return null;
  mine.set(statement.name, null, 0).settle();
  return Buffer.concat([commandComplete('DEALLOCATE'), readyForQuery(txStatus)]);
}
