import { type Fault, fault } from './fault.ts';

const SENDER = 'src/client/statement-sender.ts';
const DOUBTS = 'src/client/reading-doubts.ts';
const FILTER = 'src/client/statement-filter.ts';
const READING: Fault['tests'] = ['test/integration/reading.test.ts'];
const ANEW: Fault['tests'] = ['test/integration/reading-anew.test.ts'];
const UNSURE: Fault['tests'] = ['test/integration/reading-doubts.test.ts'];

/** How servers read what they are taught, and what is known of how a text was read. */
export const readingFaults: readonly Fault[] = [
  fault(
    'another server learns a text as the session reads by now, not as it did when it was prepared',
    {
      file: SENDER,
      find: 'readingSwitch(statement.text, statement.reading, this.#host.reading, own);',
      replace: 'readingSwitch(statement.text, this.#host.reading, this.#host.reading, own);',
    },
    READING,
  ),
  fault(
    'a session reads on as it did when a statement was prepared',
    {
      file: SENDER,
      find: 'if (turn !== null) this.#carryOut(turn.back,',
      replace: 'if (turn === undefined) this.#carryOut(turn,',
    },
    READING,
  ),
  fault(
    'what a session reads by is set back to what it was before a SET that is on its way',
    {
      file: 'src/prepared/reading.ts',
      find: "back.push(`pg_catalog.set_config('${name}',pg_catalog.current_setting('${kept}'),true)`);",
      replace: "back.push(`pg_catalog.set_config('${name}',${valueSql(now.values[i])},true)`);",
    },
    READING,
  ),
  fault(
    'what a session reads by is set for longer than its transaction',
    {
      file: 'src/prepared/reading.ts',
      find: "pg_catalog.set_config('${name}',${valueSql(meant)},true) END`,",
      replace: "pg_catalog.set_config('${name}',${valueSql(meant)},false) END`,",
    },
    READING,
  ),
  fault(
    'a statement with a stale plan is prepared anew as the session reads by now',
    { file: 'src/client/kept-stretch.ts', find: ' && this.#host.readsAlike(first.uses);', replace: ';' },
    READING,
  ),
  fault(
    'constants that PostgreSQL has read anew for a client stay so for others',
    {
      file: 'src/client/statement-sender.ts',
      find: 'if (!isThere || !known.isReadBy(statement, key)) this.teach',
      replace: 'if (!isThere) this.teach',
    },
    READING,
  ),
  fault(
    'a portal of EXECUTE that is executed behind a SET decides for others',
    {
      file: SENDER,
      find: 'known.usedBy(statement, known.isReadBy(statement, key) ? key : this.#host.doubts.unknown);',
      replace: 'known.isReadBy(statement, key);',
    },
    ANEW,
  ),
  fault(
    'a ROLLBACK with a quote in its comment is prepared anew',
    {
      file: 'src/prepared/reading.ts',
      find: "return text.length > LOOKED_AT || !isUtility(Buffer.from(text, 'latin1'), 0, text.length);",
      replace: 'return text.length > 0;',
    },
    ANEW,
  ),
  fault(
    'whoever reads otherwise has a statement prepared anew each time',
    {
      file: 'src/prepared/server-statements.ts',
      find: 'return last === undefined || last === key;',
      replace: 'return last === undefined;',
    },
    READING,
  ),
  fault(
    'a text that is prepared behind a SET on its way is taken for one that was read before',
    {
      file: DOUBTS,
      find: 'if (!this.areAny) return readingOf(values);',
      replace: 'if (values.length > 0) return readingOf(values);',
    },
    UNSURE,
  ),
  fault(
    'a text counts as read by a SET that was rolled back',
    { file: DOUBTS, find: 'if (this.#done > 0) this.#isSpoiled = true;', replace: '' },
    UNSURE,
  ),
  fault(
    'what a ROLLBACK takes back is believed until it is answered',
    {
      file: 'src/prepared/sql-statements.ts',
      find: "if (cursor.take('rollback') || cursor.take('abort')) return ROLLBACK;",
      replace: '',
    },
    UNSURE,
  ),
  fault(
    'what a COMMIT ends is believed until it is answered',
    {
      file: 'src/prepared/sql-statements.ts',
      find: "if (cursor.take('commit') || cursor.take('end')) return COMMIT;",
      replace: '',
    },
    UNSURE,
  ),
  fault(
    'what was set twice in a transaction is believed behind its end',
    {
      file: DOUBTS,
      find: 'else if (this.#done > 0) for (const index of this.#indexes) this.#inTransaction.add(index);',
      replace: '',
    },
    UNSURE,
  ),
  fault(
    'what a function has set is believed behind the end of its transaction',
    { file: DOUBTS, find: '    this.#inTransaction.add(index);\n  }', replace: '  }' },
    UNSURE,
  ),
  fault(
    'what is prepared behind a ROLLBACK is nobody’s to know',
    { file: DOUBTS, find: 'if (!this.#goesBack) this.failed();', replace: 'this.failed();' },
    UNSURE,
  ),
  fault(
    'an error of an earlier stretch speaks against what is read behind it',
    {
      file: DOUBTS,
      find: 'if (this.#done > 0) this.#isSpoiled = true;',
      replace: 'this.#isSpoiled = true;',
    },
    UNSURE,
  ),
  fault(
    'the end of a SET LOCAL is not seen behind another transaction',
    { file: DOUBTS, find: "(end === 'commit' && this.#isLocal)", replace: 'false' },
    UNSURE,
  ),
  fault(
    'a SET of a later stretch hides how a text was read before it',
    {
      file: DOUBTS,
      find: 'return this.#open.size > 0 && this.areAhead(tracker);',
      replace: 'return this.#done < 0;',
    },
    UNSURE,
  ),
  fault(
    'a SET that is prepared by name changes nothing',
    {
      file: 'src/client/sql-portals.ts',
      find: 'return this.bindTo(portal, changes ? changing(change) : null);',
      replace: 'return null;',
    },
    UNSURE,
  ),
  fault(
    'DISCARD ALL changes nothing of how its own stretch is read',
    {
      file: 'src/client/sql-portals.ts',
      find: 'const changes = this.#host.doubts.sent(form.change);',
      replace: "const changes = form.kind === 'change' ? this.#host.doubts.sent(form.change) : [];",
    },
    UNSURE,
  ),
  fault(
    'a text that is too long to be read sets nothing',
    { file: 'src/client/sql-filter.ts', find: 'doubts.sent(ANYTHING)', replace: 'doubts.sent(null)' },
    UNSURE,
  ),
  fault(
    'a PREPARE is read as its session did when it was parsed',
    {
      file: 'src/prepared/read-otherwise.ts',
      find: 'return isOther ? reading : null;',
      replace: 'return isOther ? null : null;',
    },
    UNSURE,
  ),
  fault(
    'a name is free where its statement cannot be taught',
    {
      file: SENDER,
      find: 'if (known.has(other, tracker.segment) !== true)\n',
      replace: 'if (known.has(other, tracker.segment) !== true && kept.size < 0)\n',
    },
    UNSURE,
  ),
  fault(
    'what stands for a taken name is prepared again where its Close may be skipped',
    {
      file: SENDER,
      find: 'return known.has(other, tracker.segment) !== UNSETTLED;',
      replace: 'return other !== null;',
    },
    ['test/integration/prepared-sql.test.ts'],
  ),
  fault(
    'a client waits for the end of a COPY that stands behind what it waits with',
    { file: FILTER, find: 'if (rest === NEEDS_ANSWERS && this', replace: 'if (rest > 0 && this' },
    UNSURE,
  ),
  fault(
    'a client goes on with what it waited with on a server that has not got what RESET goes back to',
    {
      file: 'src/server/connection.ts',
      find: 'if (due !== null) due();\n    else if (client',
      replace: 'if (due !== null) setImmediate(due);\n    if (client',
    },
    UNSURE,
  ),
  fault(
    'a quote behind a backslash is taught in an encoding that does not allow it',
    {
      file: 'src/prepared/reading.ts',
      find: "const BYTES = /[\\u0080-\\u00ff]|\\\\'/;",
      replace: 'const BYTES = /[\\u0080-\\u00ff]/;',
    },
    READING,
  ),
];
