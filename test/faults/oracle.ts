import { type Edit, type Fault, fault } from './fault.ts';

const TRACKER = 'src/relay/request-tracker.ts';
const RESPONSES = 'src/relay/response-stream.ts';
const FILTER = 'src/client/statement-filter.ts';
const SENDER = 'src/client/statement-sender.ts';
const ERRORS = 'src/prepared/error-names.ts';

/**
 * What the differential test must notice by itself, whatever else does: it is the test that knows nothing of how
 * answers come about.
 */
export const oracleFaults: readonly Fault[] = [
  noticed('Close of a prepared statement is not answered', {
    file: FILTER,
    find: 'this.#sender.answer(F.Close, closeComplete, statements.set(name, null, tracker.segment), out);',
    replace: 'statements.set(name, null, tracker.segment).settle();',
  }),
  noticed('ParseComplete of ours is given twice', {
    file: FILTER,
    find: 'this.#sender.answer(F.Parse, parseComplete, change, out);',
    replace: 'this.#sender.answer(F.Parse, Buffer.concat([parseComplete, parseComplete]), change, out);',
  }),
  noticed('answers of ours overtake those that the server owes', {
    file: SENDER,
    find: 'if (tracker.owesNothing && sinkAtBoundary) {',
    replace: 'if (sinkAtBoundary) {',
  }),
  noticed('requests that are skipped behind an error are answered all the same', {
    file: TRACKER,
    find: 'this.#skipsToSync = true;',
    replace: 'this.#skipsToSync = false;',
  }),
  noticed('an error says what servers call a statement', {
    file: ERRORS,
    find: 'out += text.slice(from, at) + names.nameOf(text.slice(at, to));',
    replace: 'out += text.slice(from, to);',
  }),
  noticed('an error points at a place in the text that the server was sent', {
    file: ERRORS,
    find: 'if (body[start] === POSITION) {',
    replace: 'if (body[start] === 0) {',
  }),
  noticed('ReadyForQuery tells of no transaction', {
    file: RESPONSES,
    find: 'this.#forward(chunk, run, body + 1);',
    replace: 'chunk[body] = TxStatus.Idle;\n      this.#forward(chunk, run, body + 1);',
  }),
  noticed('a client is linked with the time zone of another', {
    file: 'src/client/alignment.ts',
    find: 'if (trackedSql === null && otherSql === null) {',
    replace: "if (trackedSql !== '') {",
  }),
  noticed('DEALLOCATE ALL leaves all as it was', {
    file: 'src/client/lone-deallocate.ts',
    find: "    mine.clear();\n    return Buffer.concat([commandComplete('DEALLOCATE ALL')",
    replace: "    return Buffer.concat([commandComplete('DEALLOCATE ALL')",
  }),
  noticed('a statement that was closed to make room counts as known to the server', {
    file: SENDER,
    find: 'note(null, known.remove(statement, tracker.segment))',
    replace: 'note(null)',
  }),
  noticed('to make room the statement that has just been sent is closed', {
    file: SENDER,
    find: 'out.put(statement.closeMessage());',
    replace: 'out.put(([...known.entries()].at(-1)?.[0] ?? statement).closeMessage());',
  }),
  noticed('statements of one text are the same whatever types their parameters have', {
    file: 'src/prepared/statement.ts',
    find: 'return `${origin}${reading.key}\\0${body}`;',
    replace: "return `${origin}${reading.key}\\0${body.split('\\0')[0]}`;",
  }),
  noticed('a statement counts as prepared although its Parse has failed', {
    file: 'src/prepared/ledger.ts',
    find: 'undo: () => this.#undone(change),',
    replace: 'undo: () => this.#settled(change),',
  }),
  noticed('a notice in the middle of a result is left out', {
    file: TRACKER,
    find: 'return isSwallowed ? ReplyAction.Swallow : ReplyAction.Forward;\n    }\n    // With nothing owed',
    replace: 'return ReplyAction.Swallow;\n    }\n    // With nothing owed',
  }),
  noticed('a notification in the middle of a result is left out', {
    file: TRACKER,
    find: 'case B.NotificationResponse:\n        return ReplyAction.Forward;',
    replace: 'case B.NotificationResponse:\n        return ReplyAction.Swallow;',
  }),
  noticed('a portal that is suspended leaves its Execute unanswered', {
    file: TRACKER,
    find: 'case B.EmptyQueryResponse:\n      case B.PortalSuspended:',
    replace: 'case B.EmptyQueryResponse:',
  }),
  noticed('a Sync answers all Syncs that were sent', {
    file: 'src/relay/lost-requests.ts',
    find: 'for (let i = 0; i <= sync; i++) queue.pop();',
    replace: 'queue.clear();',
  }),
  noticed('a CopyFail is lost', {
    file: 'src/relay/request-stream.ts',
    find: 'this.#dropping = !host.isLinked && !isAnswered(type);',
    replace: 'this.#dropping = (!host.isLinked && !isAnswered(type)) || type === F.CopyFail;',
  }),
  noticed('the requests behind a COPY that has failed are left out of the count', {
    file: 'src/relay/copy-marks.ts',
    find: 'queue.removeBehindHead(end - 1, queue.headType === F.Query);',
    replace: 'queue.removeBehindHead(queue.length - 1, queue.headType === F.Query);',
  }),
];

function noticed(name: string, edit: Edit): Fault {
  return { ...fault(name, edit, ['test/integration/differential.test.ts']), seed: 1 };
}
