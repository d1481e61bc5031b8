import { type Fault, fault } from './fault.ts';

const REPAIR = 'src/server/plan-repair.ts';
const STRETCH = 'src/prepared/stretch.ts';
const TRACKER = 'src/relay/request-tracker.ts';
const TESTS: Fault['tests'] = ['test/integration/plan-repair.test.ts'];
const NAMED: Fault['tests'] = ['test/integration/prepared-sql-named.test.ts'];
const RANDOM: Fault['tests'] = ['test/integration/plan-repair-random.test.ts'];

/** Which statements servers know, and what happens when they cannot use them any more. */
export const preparedFaults: readonly Fault[] = [
  fault(
    'what is bound behind a Flush has to be described before its turn',
    { file: STRETCH, find: '.includes(true) ? null', replace: '.length > 0 ? null' },
    ['test/prepared/stretch.test.ts'],
  ),
  fault(
    'a name of ours is shown for a DEALLOCATE that is executed again behind a skipped Parse',
    {
      file: 'src/client/session-statements.ts',
      find: 'this.#filter.formerName(serverName) ??',
      replace: '',
    },
    ['test/integration/prepared-sql.test.ts'],
  ),
  fault(
    'errors of a server that has no statements any more are not read',
    {
      file: 'src/server/session-state.ts',
      find: 'return this.statements.wereAny ||',
      replace: 'return this.statements.size > 0 ||',
    },
    ['test/integration/prepared-sql.test.ts'],
  ),
  fault(
    'a statement with a stale plan is not repaired',
    { file: 'src/prepared/stale-plan.ts', find: 'routine === ', replace: 'routine !== ' },
    RANDOM,
  ),
  fault(
    'rows of a new type go to a client that is not told of it',
    {
      file: STRETCH,
      find: 'if (!isDescribed) portals.set(bind.portal, false);',
      replace: 'if (!isDescribed) portals.delete(bind.portal);',
    },
    TESTS,
  ),
  fault(
    'parameters are read as another type than the client has written them as',
    {
      file: REPAIR,
      find: '(renewed.sameParameters || !needs.sameParameters) &&',
      replace: '(renewed.sameParameters || needs !== null) &&',
    },
    TESTS,
  ),
  fault(
    'formats go to other columns than the client has asked for',
    {
      file: REPAIR,
      find: '(needs.columns < 0 || needs.columns === renewed.columns);',
      replace: 'renewed.columns >= 0;',
    },
    TESTS,
  ),
  fault(
    'requests are repeated behind others that have been sent since',
    {
      file: REPAIR,
      find: 'return queue.syncs === 0 || (queue.syncs === 1 && queue.lastType === F.Sync);',
      replace: 'return true;',
    },
    TESTS,
  ),
  fault(
    'requests are repeated whose stretch has done something before',
    {
      file: TRACKER,
      find: 'return this.owesNothing && !this.#isStretchOpen &&',
      replace: 'return this.owesNothing &&',
    },
    TESTS,
  ),
  fault(
    'requests are repeated in a transaction',
    {
      file: TRACKER,
      find: 'this.txStatus === TxStatus.Idle && !this.isUnsure;',
      replace: 'this.txStatus !== TxStatus.Failed && !this.isUnsure;',
    },
    TESTS,
  ),
  fault(
    'the ReadyForQuery of requests that are repeated goes to the client',
    { file: REPAIR, find: 'if (this.#hasSync) tracker.queue.swallowLast();', replace: '' },
    TESTS,
  ),
  fault(
    'the description of a stale statement goes to the client, and then that of the new one',
    {
      file: 'src/relay/response-stream.ts',
      find: 'return this.#host.kept?.isKeeping === true &&',
      replace: 'return this.#host.kept === null &&',
    },
    TESTS,
  ),
  fault(
    'a client’s requests go on to the server while earlier ones have to be repeated',
    {
      file: 'src/client/intake.ts',
      find: 'if (this.kept.isHeld) {',
      replace: 'if (this.kept.isHeld && end < 0) {',
    },
    TESTS,
  ),
  fault(
    'a client that waits for an answer is looked at again for each part of another',
    {
      file: 'src/server/connection.ts',
      find: '!this.#interlude.isInTheWay(client) && this.tracker.takeAnswered()',
      replace: '!this.#interlude.isInTheWay(client)',
    },
    ['test/integration/prepared.test.ts'],
  ),
  fault(
    'what a portal with a name executes is not noticed',
    {
      file: 'src/client/statement-filter.ts',
      find: 'this.#sql.portals.passBind(nameOf(chunk, body, zero), body,',
      replace: "this.#sql.portals.passBind('', body,",
    },
    ['test/integration/prepared-sql.test.ts'],
  ),
  fault(
    'names mean what they did before statements were let through for a while',
    {
      file: 'src/client/session-statements.ts',
      find: 'if (this.statements.size > 0) this.statements.clear();',
      replace: '',
    },
    ['test/integration/prepared.test.ts'],
  ),
  fault(
    'the unnamed statement is what it was before statements were let through for a while',
    {
      file: 'src/client/session-statements.ts',
      find: 'this.#filter.end();\n    if (',
      replace: 'if (',
    },
    ['test/integration/prepared.test.ts'],
  ),
  fault(
    'an EXECUTE says that its statement is missing, not why',
    { file: REPAIR, find: 'this.#cause = error;', replace: '' },
    ['test/integration/prepared-sql.test.ts'],
  ),
  fault(
    'one client after the other has the process gather a large text',
    {
      file: 'src/client/held-bytes.ts',
      find: 'if (more > 0) budget.check(more);',
      replace: '',
    },
    ['test/client/held-bytes.test.ts', 'test/integration/prepared.test.ts'],
  ),
  fault(
    'texts are kept without end',
    {
      file: 'src/client/statement-filter.ts',
      find: 'if (isNew) cache.budget.check(0);',
      replace: '',
    },
    ['test/integration/prepared.test.ts'],
  ),
  fault(
    'the rest of a message that is half sent amid a repair is kept, however long',
    {
      file: 'src/client/kept-stretch.ts',
      find: 'isTooLong || this.#isTooLong',
      replace: 'isTooLong && end < 0',
    },
    TESTS,
  ),
  fault(
    'a copy that is kept takes room from what has to be seen whole',
    {
      file: 'src/client/intake.ts',
      find: ': this.held.length > Math.max(',
      replace: ': this.held.length + this.kept.length > Math.max(',
    },
    TESTS,
  ),
  fault(
    'a parameter that changes amid a repair is noted by nobody',
    {
      file: REPAIR,
      find: 'if (type === B.ParameterStatus || type === B.NotificationResponse) {',
      replace: 'if (type === B.NotificationResponse) {',
    },
    ['test/integration/plan-repair-peers.test.ts'],
  ),
  fault(
    'a statement in doubt is trusted again when what was to teach it anew was skipped',
    {
      file: 'src/prepared/server-statements.ts',
      find: 'if (wasDoubtful) this.doubt(statement);',
      replace: '',
    },
    TESTS,
  ),
  fault(
    'a changed text is kept beyond its message',
    { file: 'src/prepared/text-change.ts', find: 'this.#bytes = null;', replace: '' },
    ['test/integration/prepared.test.ts'],
  ),
  fault(
    'a Bind waits for the answer to what an earlier stretch has parsed, though its own has parsed anew',
    {
      file: 'src/client/unnamed-forms.ts',
      find: "getBehind('', segment)",
      replace: "get('', segment)",
    },
    ['test/integration/sql-portals.test.ts'],
  ),
  fault(
    'a statement with a name drops all others, and nobody knows',
    {
      file: 'src/client/sql-portals.ts',
      find: 'if (sql !== null && isDropping(sql)) return',
      replace: 'if (sql === undefined) return',
    },
    NAMED,
  ),
  fault(
    'a server knows what a statement with a name prepares by the client’s name',
    {
      file: 'src/client/sql-filter.ts',
      find: 'if (sql === null || !isNamed(sql)) return null;',
      replace: 'if (sql !== undefined) return null;',
    },
    NAMED,
  ),
  fault(
    'SQL’s EXECUTE of a statement with a name leaves what that prepares to the next client',
    {
      file: 'src/client/statement-sender.ts',
      find: 'statement.isGuess || isNaming)',
      replace: 'statement.isGuess)',
    },
    NAMED,
  ),
  fault(
    'what a PREPARE gives that cannot be read is left to the next client',
    {
      file: 'src/prepared/sql-statements.ts',
      find: 'readStatements(bytes, start, end, options) === null;',
      replace: 'readStatements(bytes, start, end, options) === undefined;',
    },
    NAMED,
  ),
  fault(
    'a name that was taken and is given nevertheless stands for nothing',
    {
      file: 'src/client/statement-filter.ts',
      find: 'note(name, here, mine)',
      replace: 'note(name)',
    },
    NAMED,
  ),
  fault(
    'what is dropped counts until the whole answer is there',
    {
      file: 'src/client/statement-sender.ts',
      find: 'known.clear();\n      this.#host.statements.clear();',
      replace: '',
    },
    NAMED,
  ),
  fault(
    'a PREPARE by a portal that is older than its name is taken for what had the name',
    {
      file: 'src/client/sql-portals.ts',
      find: 'if (taken === null) return this.#prepared(name, statement);',
      replace: 'return this.#prepared(name, taken ?? statement);',
    },
    NAMED,
  ),
  fault(
    'texts are not counted of which nobody knows how they are read',
    {
      file: 'src/client/reading-doubts.ts',
      find: 'statement.users++;',
      replace: 'if (statement.users > 99) statement.users++;',
    },
    ['test/client/reading-doubts.test.ts'],
    {
      file: 'src/client/reading-doubts.ts',
      find: 'this.#cache.release(statement);',
      replace: '',
    },
  ),
  fault(
    'max_prepared_statements stays for a session what it was when that first looked',
    {
      file: 'src/client/session-statements.ts',
      find: 'get limit(): number {\n    return this.#session.pool.limits.maxPreparedStatements;',
      replace:
        '#first = 0;\n  get limit(): number {\n    return (this.#first ||= this.#session.pool.limits.maxPreparedStatements);',
    },
    ['test/integration/prepared-room.test.ts'],
  ),
  fault(
    'what an EXECUTE without a name builds on has to make room for others',
    {
      file: 'src/client/statement-sender.ts',
      find: 'known.surplus(limit, kept, named)',
      replace: 'known.surplus(limit, kept)',
    },
    ['test/integration/prepared-room.test.ts'],
    {
      file: 'src/client/statement-sender.ts',
      find: '    const named = this.forms.statements() ?? NONE;\n',
      replace: '',
    },
  ),
  fault(
    'what an EXECUTE without a name builds on has made room for another client’s by its Bind',
    {
      file: 'src/client/sql-portals.ts',
      find: 'if (current === base) this.#sender.ensure(base, out);',
      replace: '',
    },
    ['test/integration/prepared-room.test.ts'],
  ),
  fault(
    'a server is taken to have what an unnamed DEALLOCATE has dropped behind its name',
    {
      file: 'src/client/sql-portals.ts',
      find: 'changes.push(known.remove(statement, segment));',
      replace: 'if (current === statement) changes.push(known.remove(statement, segment));',
    },
    ['test/integration/prepared-room.test.ts'],
  ),
  fault(
    'a PREPARE takes the place of what a portal executes that has its text',
    {
      file: 'src/client/statement-sender.ts',
      find: '!(isNeeded(same) || named?.has(same) === true)',
      replace: '!(isNeeded(same) || named?.has(same) === null)',
    },
    ['test/integration/prepared-room.test.ts'],
  ),
  fault(
    'who has read last what could not be prepared is remembered for ever, and its text with it',
    {
      file: 'src/prepared/server-statements.ts',
      find: '    this.#doubtful.delete(statement);\n    this.#readBy.delete(statement);\n  }\n\n  /** As',
      replace: '    this.#doubtful.delete(statement);\n  }\n\n  /** As',
    },
    ['test/prepared/ledger.test.ts'],
  ),
  fault(
    'what was to lose its name is doubted for ever, although that has failed',
    {
      file: 'src/prepared/server-statements.ts',
      find: '        change.undo();\n        this.#forgetGone(statement);',
      replace: '        change.undo();',
    },
    ['test/prepared/ledger.test.ts'],
  ),
];
