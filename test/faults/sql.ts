import { type Fault, fault } from './fault.ts';

const SQL: Fault['tests'] = ['test/integration/prepared-sql.test.ts'];
const NAMED: Fault['tests'] = ['test/integration/prepared-sql-named.test.ts'];
const PORTALS: Fault['tests'] = ['test/integration/sql-portals.test.ts'];
const FAILURES: Fault['tests'] = ['test/integration/sql-failures.test.ts'];

/** What SQL about statements does by portals, behind errors, and where it cannot be read. */
export const sqlFaults: readonly Fault[] = [
  fault(
    'PREPARE behind a SET in its stretch is lost where its text may be read in several ways',
    {
      file: 'src/client/sql-filter.ts',
      find: 'isGuessed && read !== null && !hasPlainHead(chunk, read, zero) ? null : read',
      replace: 'isGuessed ? null : read',
    },
    ['test/integration/reading-anew.test.ts'],
  ),
  fault(
    'the unnamed statement is forgotten when an earlier one turns out to have been skipped',
    {
      file: 'src/client/sql-filter.ts',
      find: '(tracker.failedNote === hanging ? lose() : undo())',
      replace: 'lose()',
    },
    SQL,
  ),
  fault(
    'the unnamed statement is what it was behind a Parse that has failed',
    {
      file: 'src/client/sql-filter.ts',
      find: '(tracker.failedNote === hanging ? lose() : undo())',
      replace: 'undo()',
    },
    SQL,
  ),
  fault(
    'a portal is another although its Bind has failed',
    {
      file: 'src/client/sql-portals.ts',
      find: 'const note = this.#noteOf(this.bindTo(portal, form));',
      replace: 'const note = null; this.bindTo(portal, form)?.settle();',
    },
    PORTALS,
  ),
  fault(
    'a Query that is skipped drops the unnamed statement',
    {
      file: 'src/client/sql-filter.ts',
      find: 'if (this.#host.server?.tracker.isStretchOpen !== true) this.#forms.dropped();',
      replace: 'this.#forms.dropped();',
    },
    PORTALS,
  ),
  fault(
    'a portal counts although it was closed',
    {
      file: 'src/client/sql-portals.ts',
      find: 'const gone = this.#noteOf(this.bindTo(portal, null));',
      replace: 'const gone = null;',
    },
    PORTALS,
  ),
  fault(
    'a server is taken to lack the name of what was prepared there behind a SET, read otherwise',
    {
      file: 'src/client/sql-portals.ts',
      find: 'return [change, server.statements.misnamed(statement, segment)];',
      replace: 'return [change];',
    },
    PORTALS,
  ),
  fault(
    'a server is taken to say as it was parsed what was prepared there behind a SET',
    {
      file: 'src/client/sql-portals.ts',
      find: 'return [change, server.statements.misnamed(statement, segment)];',
      replace: 'return [change, server.statements.add(statement, segment)];',
    },
    PORTALS,
  ),
  fault(
    'what a portal does whose name is long is not noticed, and its server goes on',
    {
      file: 'src/client/sql-portals.ts',
      find: 'if (server !== null) server.closeNeeded = true;',
      replace: '',
    },
    PORTALS,
  ),
  fault(
    'EXECUTE of SET changes nothing of how later texts are read',
    {
      file: 'src/client/sql-rewriter.ts',
      find: "if (form.kind !== 'execute' || !form.isPlain) return changeOf(form);",
      replace: "if (form.kind !== 'set') return changeOf(form);",
    },
    PORTALS,
  ),
  fault(
    'a text counts as read though it hangs on a SET ahead of it in its stretch',
    {
      file: 'src/client/sql-filter.ts',
      find: 'if (!doubts.areAny || !isGuessed(',
      replace: 'if (!doubts.areAny || doubts.areAny || !isGuessed(',
    },
    PORTALS,
  ),
  fault(
    'what a server has lost is missing for every EXECUTE there',
    {
      file: 'src/server/plan-repair.ts',
      find: 'for (const each of note?.based ?? []) statements.requestFailed(each, null, body);',
      replace: '',
    },
    FAILURES,
  ),
  fault(
    'what the last statement of a Query prepares is unknown where the transaction fails at its end',
    {
      file: 'src/server/plan-repair.ts',
      find: 'note?.isAtLast === true && !isOfText(body)',
      replace: 'false',
    },
    FAILURES,
  ),
  fault(
    'what a text prepares that is too long to be read is left to the next client',
    {
      file: 'src/server/session-state.ts',
      find: "(tag === 'prepare' && headNote.hidesNames)",
      replace: 'false',
    },
    FAILURES,
  ),
  fault(
    'texts are sent for what the server passes over',
    {
      file: 'src/client/statement-sender.ts',
      find: 'return tracker.isSkipped && !tracker.isUnsure;',
      replace: 'return tracker.isSkipped && tracker.isUnsure;',
    },
    NAMED,
  ),
];
