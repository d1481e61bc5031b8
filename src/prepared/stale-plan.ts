import { parseErrorFields } from '../wire/error-fields.ts';
import { type PgErrorFields, SqlState } from '../wire/pg-error.ts';

const ROUTINE = 'RevalidateCachedQuery';

/** What PostgreSQL says when the rows of a prepared statement would be of another type than they were. */
export const STALE_PLAN: PgErrorFields = {
  severity: 'ERROR',
  sqlstate: SqlState.featureNotSupported,
  message: 'cached plan must not change result type',
  routine: ROUTINE,
};

/** Whether the ErrorResponse with `body` says that, in whatever language. */
export function isStalePlan(body: Buffer): boolean {
  const { sqlstate, routine, severityNonlocalized } = parseErrorFields(body);
  return sqlstate === SqlState.featureNotSupported && routine === ROUTINE && severityNonlocalized === 'ERROR';
}
