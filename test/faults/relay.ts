import { type Fault, fault } from './fault.ts';

const TRACKER = 'src/relay/request-tracker.ts';
const COPY_MARKS = 'src/relay/copy-marks.ts';
const REQUESTS = 'src/relay/request-stream.ts';
const SERVER = 'src/server/connection.ts';
const SESSION = 'src/client/session.ts';
const BARRIER = 'src/server/barrier.ts';
const SESSION_STATE = 'src/server/session-state.ts';

/** When a link ends, what passes through it, and what is left behind. */
export const relayFaults: readonly Fault[] = [
  fault(
    'a server is released inside a transaction',
    {
      file: TRACKER,
      find: 'return this.txStatus === TxStatus.Idle && this.isQuiet;',
      replace: 'return this.isQuiet;',
    },
    ['test/relay/request-tracker.test.ts', 'test/integration/link.test.ts'],
    { file: SERVER, find: 'if (status === TxStatus.Idle) {', replace: 'if (status !== TxStatus.Failed) {' },
  ),
  fault(
    'a server is released while answers are still owed',
    {
      file: TRACKER,
      find: 'return this.queue.length === 0 && !this.#awaitsReady;',
      replace: 'return true;',
    },
    ['test/relay/request-tracker.test.ts', 'test/relay/request-tracker-model.test.ts'],
  ),
  fault(
    'a server is released after Execute, ahead of the Sync',
    {
      file: TRACKER,
      find: 'return this.queue.length === 0 && !this.#awaitsReady;',
      replace: 'return this.queue.length === 0;',
    },
    ['test/relay/request-tracker.test.ts', 'test/relay/request-tracker-model.test.ts'],
  ),
  fault(
    'a COPY that failed behind an early Sync leaves a connection that counts as sound',
    { file: COPY_MARKS, find: 'doubts.isUnsure = true;', replace: '' },
    ['test/relay/request-tracker.test.ts', 'test/relay/request-tracker-model.test.ts'],
  ),
  fault(
    'a connection whose answers cannot be counted is taken from its client before it is probed',
    {
      file: SERVER,
      find: 'if (this.tracker.isUnsure) this.#interlude.probe(client);',
      replace: 'if (client === null) return;',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a probe is sent to a server that may be about to begin a COPY',
    {
      file: 'src/server/own-queries.ts',
      find: 'Buffer.concat(new Array<Buffer>(syncs).fill(sync))',
      replace: "Buffer.concat([closeStatement('pgweir_'), ...new Array<Buffer>(syncs).fill(sync)])",
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a server that has answered one Sync of ours counts as done with all that was sent before',
    {
      file: 'src/server/own-queries.ts',
      find: '    const syncs = probe.readies + 1;',
      replace: '    const syncs = Math.min(1, probe.readies + 1);',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a COPY that fails amid a probe goes on, and the answers to our Syncs are the client’s',
    {
      file: SERVER,
      find: 'if (this.tracker.lost.isCountLost) return',
      replace: 'if (client === undefined) return',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'with more unasked than is kept, ReadyForQuery of ours are given to the client',
    {
      file: BARRIER,
      find: 'else if (follows) this.#letGoKept();',
      replace: 'else if (follows) this.#letGo(this.#readies);',
    },
    ['test/server/barrier.test.ts'],
  ),
  fault(
    'what comes unasked overtakes a ReadyForQuery that is held',
    {
      file: BARRIER,
      find: 'this.#held.push(kept);',
      replace: 'this.#pass(kept, 0, kept.length);',
    },
    ['test/server/barrier.test.ts'],
  ),
  fault(
    'a session in doubt about what its server owes stays so for ever',
    {
      file: 'src/server/interlude.ts',
      find: 'if (silentMs <= SILENCE_MS ||',
      replace: "if (silentMs <= SILENCE_MS || pool.limits.poolMode === 'session' ||",
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a session that was asked for what a RESET has led to is not given back what it gave',
    {
      file: SERVER,
      find: 'this.isDoubtful && (this.#staysLinked || this.#interlude.asks(client))',
      replace: 'this.#staysLinked || (this.isDoubtful && this.#interlude.asks(client))',
    },
    ['test/integration/session-parameters.test.ts'],
  ),
  fault(
    'a server may answer a probe without end',
    {
      file: BARRIER,
      find: 'if (this.#readies > 2 * this.#syncs) throw',
      replace: 'if (this.#syncs < 0) throw',
    },
    ['test/server/barrier.test.ts'],
  ),
  fault(
    'a server is not read for what is ours while its client takes nothing',
    { file: SERVER, find: '    else this.conn.resume();\n', replace: '' },
    ['test/integration/asked-parameters.test.ts'],
  ),
  fault(
    'behind each question of ours, more of its answers waits for a client that takes nothing',
    {
      file: SERVER,
      find: 'if (reader === this.#responses && this.#client.conn.isCongested) this.conn.pause();',
      replace: 'if (this.state === null) this.conn.pause();',
    },
    ['test/integration/asked-parameters.test.ts'],
  ),
  fault(
    'a server that is not read for its client counts as silent',
    { file: SERVER, find: 'this.conn.isPaused ? 0 : nowMs', replace: 'nowMs' },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a server that was not read for its client counts as silent since then',
    {
      file: SERVER,
      find: '    this.#readMs = this.#services.clock.nowMs();\n    this.conn.resume();',
      replace: '    this.conn.resume();',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'why a server ends its connection amid a query of ours nobody hears',
    {
      file: 'src/server/own-query.ts',
      find: 'if (isEnding(error)) this.#host.ending?.(error, body);',
      replace: 'if (isEnding(error)) return true;',
    },
    [
      'test/server/own-query.test.ts',
      'test/integration/asked-parameters.test.ts',
      'test/integration/connect-query.test.ts',
    ],
  ),
  fault(
    'why a server ends its connection while a statement is prepared anew nobody hears',
    {
      file: 'src/server/plan-repair.ts',
      find: 'if (isEnding(parseErrorFields(body))) unasked(type, body);',
      replace: '',
    },
    ['test/integration/plan-repair-peers.test.ts'],
  ),
  fault(
    'a notification that comes while a statement is prepared anew is lost',
    {
      file: 'src/server/plan-repair.ts',
      find: 'if (type === B.ParameterStatus || type === B.NotificationResponse) {',
      replace: 'if (type === B.ParameterStatus) {',
    },
    ['test/integration/plan-repair-peers.test.ts'],
  ),
  fault(
    'a client whose COPY begins while its server is probed stays held',
    {
      file: 'src/server/interlude.ts',
      find: '!== false) return false;',
      replace: '!== null) return false;',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a server that may wait for a COPY’s end is waited for',
    { file: 'src/server/interlude.ts', find: " === 'unknown') {", replace: ' === null) {' },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'requests that may not have been skipped are forgotten',
    {
      file: 'src/relay/lost-requests.ts',
      find: '      else if (!isCopyMark(type)) this.#areAny = true;\n',
      replace: '',
    },
    ['test/relay/request-tracker-model.test.ts', 'test/integration/copy-probe.test.ts'],
  ),
  fault(
    'Syncs and data that a server in COPY IN reads without end are all kept count of',
    {
      file: COPY_MARKS,
      find: 'return type === F.Sync ? queue.lastType === F.Sync : queue.copyData > 0;',
      replace: 'return queue.length < 0 && type === F.Sync;',
    },
    ['test/relay/request-tracker.test.ts'],
  ),
  fault(
    'a client may have requests without end under way',
    {
      file: 'src/relay/room.ts',
      find: 'if (queue.length < MOST) return true;',
      replace: 'if (queue.length >= 0) return true;',
    },
    ['test/relay/request-stream.test.ts'],
  ),
  fault(
    'a client whose COPY has to go on is not read, for too much is under way',
    {
      file: 'src/relay/room.ts',
      find: 'if (!tracker.isCopyIn || queue.copyEnds > 0) return false;',
      replace: 'return false;',
    },
    ['test/relay/request-stream.test.ts'],
  ),
  fault(
    'a Close amid a COPY is answered by us, and the COPY goes on',
    { file: 'src/client/statement-sender.ts', find: 'tracker.queue.mayCopy', replace: 'tracker.isUnsure' },
    ['test/integration/copy.test.ts'],
  ),
  fault(
    'a Close amid a COPY is answered by us where that has been begun by Execute',
    {
      file: 'src/relay/outstanding.ts',
      find: 'return this.#counts[EXECUTE] !== 0 || this.#counts[QUERY] !== 0;',
      replace: 'return this.#counts[QUERY] !== 0;',
    },
    ['test/integration/copy.test.ts'],
  ),
  fault(
    'a Close amid a COPY is answered by us where that has been begun by a Query',
    {
      file: 'src/relay/outstanding.ts',
      find: 'return this.#counts[EXECUTE] !== 0 || this.#counts[QUERY] !== 0;',
      replace: 'return this.#counts[EXECUTE] !== 0;',
    },
    ['test/integration/copy.test.ts'],
  ),
  fault(
    'a Parse is answered with the CloseComplete of a Close of ours',
    {
      file: 'src/client/statement-sender.ts',
      find: 'tracker.sent(F.Close, ReplyAction.Rewrite, bytes, note(null, change));',
      replace: 'tracker.sent(F.Close, ReplyAction.Forward, bytes, note(null, change));',
    },
    ['test/integration/copy.test.ts'],
  ),
  fault(
    'Syncs behind another request are left out of the count as those of a COPY',
    {
      file: 'src/relay/copy-marks.ts',
      find: 'if (!isAlone(queue)) return false;',
      replace: 'if (queue.copyEnds > 0) return false;',
    },
    ['test/relay/request-tracker.test.ts', 'test/relay/request-tracker-model.test.ts'],
  ),
  fault(
    'COPY data counts as late, and is dropped, while its server is probed',
    {
      file: REQUESTS,
      find: 'this.#dropping = !host.isLinked && !isAnswered(type);',
      replace: 'this.#dropping = host.target === null && !isAnswered(type);',
    },
    ['test/relay/request-stream.test.ts', 'test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a probe that fails is waited for, and its error is the client’s',
    {
      file: BARRIER,
      find: 'if (this.#isOver && !isEnd) {',
      replace: 'if (this.#syncs < 0 && !isEnd) {',
    },
    ['test/server/barrier.test.ts', 'test/integration/copy-probe.test.ts'],
  ),
  fault(
    'why a server ends amid a probe counts as the probe’s failure',
    { file: BARRIER, find: 'if (this.#isOver && !isEnd) {', replace: 'if (this.#isOver) {' },
    ['test/integration/copy-probe.test.ts', 'test/server/barrier.test.ts'],
  ),
  fault(
    'what runs on a server that is probed cannot be cancelled',
    {
      file: 'src/daemon/client-services.ts',
      find: 'owner.target === null && !server.isProbed',
      replace: 'owner.target === null',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a cancel that waits is dropped when its server is probed',
    {
      file: 'src/server/interlude.ts',
      find: '    if (tracker.lost.readies > MAX_READIES) {',
      replace: '    host.pool.cancels.detach(host);\n    if (tracker.lost.readies > MAX_READIES) {',
    },
    ['test/integration/late-cancel.test.ts'],
  ),
  fault(
    'a transaction that fails while its server is probed ends its session',
    {
      file: SERVER,
      find: '    client.answered(status, isQuiet);',
      replace: `    if (this.#own.isProbing && status === TxStatus.Failed) return this.#interlude.giveUp();
    client.answered(status, isQuiet);`,
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'ReadyForQuery of ours ahead of the end of a connection is the client’s, who takes for done what is not',
    {
      file: BARRIER,
      find: 'if (isEnd) this.#letGo(0);',
      replace: 'if (isEnd) this.#letGo(this.#readies);',
    },
    ['test/server/barrier.test.ts', 'test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a client waits for a ReadyForQuery until something comes behind it',
    {
      file: BARRIER,
      find: 'const isOwed = this.#areEnded && this.#isBehindAnswer;',
      replace: 'const isOwed = false;',
    },
    ['test/integration/copy-probe.test.ts', 'test/server/barrier.test.ts'],
  ),
  fault(
    'ReadyForQuery that a Sync of ours has brought is the client’s, whose own a COPY has swallowed',
    {
      file: BARRIER,
      find: 'const isOwed = this.#areEnded && this.#isBehindAnswer;',
      replace: 'const isOwed = this.#isBehindAnswer;',
    },
    ['test/integration/copy-probe.test.ts', 'test/server/barrier.test.ts'],
  ),
  fault(
    'a stretch counts as ended whose Sync is still to come',
    {
      file: TRACKER,
      find: 'return !this.#isStretchOpen && !this.lost.hasCopied;',
      replace: 'return !this.lost.hasCopied;',
    },
    ['test/relay/request-tracker-model.test.ts'],
  ),
  fault(
    'a stretch counts as ended whose Sync a COPY may have swallowed',
    {
      file: TRACKER,
      find: 'return !this.#isStretchOpen && !this.lost.hasCopied;',
      replace: 'return !this.#isStretchOpen;',
    },
    ['test/relay/request-tracker-model.test.ts'],
  ),
  fault(
    'a status that there is none of is held as if it were one',
    { file: BARRIER, find: 'if (!isOwed && STATUSES.has(status)) {', replace: 'if (!isOwed) {' },
    ['test/server/barrier.test.ts'],
  ),
  fault(
    'any answer counts as the one to a probe',
    {
      file: BARRIER,
      find: 'if (type !== B.CloseComplete || length !== EMPTY_LENGTH) throw',
      replace: 'if (type === 0 || length < EMPTY_LENGTH) throw',
    },
    ['test/server/barrier.test.ts'],
  ),
  fault(
    'what has come unasked amid a probe goes with the connection',
    { file: SERVER, find: 'if (this.#client !== null) this.#own.lost();', replace: '' },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'what a link was due before the probe ends it behind the probe',
    {
      file: SERVER,
      find: 'this.#releaseDue = false;\n    this.#atChunkEnd = atChunkEnd;',
      replace: 'this.#atChunkEnd = atChunkEnd;',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a statement counts as prepared although its Parse was skipped',
    {
      file: 'src/client/request-notes.ts',
      find: 'for (const change of this.steps[this.#done] ?? []) change.undo();',
      replace: 'for (const change of this.steps[this.#done] ?? []) change.settle();',
    },
    ['test/integration/prepared.test.ts'],
  ),
  fault(
    'a request of a later stretch goes by a name that an unanswered one gives',
    {
      file: 'src/prepared/ledger.ts',
      find: 'if (this.#pending.size > 0 && this.#hasOther(key, segment)) return UNSETTLED;',
      replace: '',
    },
    ['test/prepared/ledger.test.ts', 'test/integration/prepared.test.ts'],
  ),
  fault(
    'a client keeps the parameters that another has given',
    {
      file: 'src/relay/extra-parameters.ts',
      find: 'sql += before === undefined ? `RESET ${inSql(name)};` : configSql(name, before);',
      replace: "sql += before === undefined ? '' : configSql(name, before);",
    },
    ['test/integration/extra-parameters.test.ts'],
  ),
  fault(
    'a parameter of connect_query’s goes back to PostgreSQL’s own value',
    {
      file: 'src/relay/extra-parameters.ts',
      find: 'sql += before === undefined ? `RESET ${inSql(name)};` : configSql(name, before);',
      replace: 'sql += `RESET ${inSql(name)};`;',
    },
    ['test/integration/connect-query.test.ts'],
  ),
  fault(
    'what connect_query has set is known of tracked parameters only',
    {
      file: SESSION_STATE,
      find: 'else if (mayBeBase(key)) this.base',
      replace: 'else if (this.silent.includes(key)) this.base',
    },
    ['test/integration/connect-query.test.ts'],
  ),
  fault(
    'a client that has set a time zone has connect_query’s behind a RESET of something else',
    {
      file: 'src/relay/tracked-parameters.ts',
      find: 'const back = client.given.parameters[index] ?? server.begunWith[index] ?? null;',
      replace: 'const back = client.given.parameters[index] ?? null;',
    },
    ['test/relay/tracked-parameters.test.ts'],
  ),
  fault(
    'RESET ROLE leads to the user of connect_query’s login',
    {
      file: SESSION_STATE,
      find: '...(isClients ? [] : this.base.keys())',
      replace: '',
    },
    ['test/integration/connect-query.test.ts'],
  ),
  fault(
    'a reset query that is a SET leads to the user of connect_query’s login',
    {
      file: SESSION_STATE,
      find: "const isClients = tag === 'set' && client !== null;",
      replace: "const isClients = tag === 'set';",
    },
    ['test/integration/connect-query.test.ts'],
  ),
  fault(
    'what connect_query has set is set again with no more than the rights of its user',
    {
      file: 'src/relay/extra-parameters.ts',
      find: '(isAnothers && names.some',
      replace: '(!isAnothers && names.some',
    },
    ['test/integration/connect-query.test.ts'],
  ),
  fault(
    'a client is ended for a RESET of what its server’s login may not set again',
    { file: SESSION, find: '!isNew && sparesBase(end)', replace: 'isNew && sparesBase(end)' },
    ['test/integration/connect-query.test.ts'],
  ),
  fault(
    'behind the reset query clients have the login’s rights where nobody may ask whose they are to have',
    {
      file: SESSION_STATE,
      find: 'else if (!isLinked && isOther && !hasUser(this.base))',
      replace: 'else if (hasUser(this.base))',
    },
    ['test/integration/connect-query.test.ts'],
  ),
  fault(
    'a tracked role costs a server connection for each transaction',
    { file: SESSION_STATE, find: 'else if (!isLinked && isOther', replace: 'else if (isOther' },
    ['test/integration/session-parameters.test.ts'],
  ),
  fault(
    'RESET of what nothing declares leads a client to what the configuration says, not to what it gave',
    {
      file: SESSION_STATE,
      find: 'else if (isSet === null) this.#configured.set(name, value);',
      replace: '',
    },
    ['test/integration/connect-query.test.ts'],
  ),
  fault(
    'any error counts as one that nobody may ask what connect_query has set',
    { file: 'src/server/opening.ts', find: '|| !mayNeverAsk(error)', replace: '' },
    ['test/integration/connect-query.test.ts'],
  ),
  fault(
    'a client with a value that no server takes costs one server after the other',
    { file: SESSION, find: ' && mayDependOnServer(error, this.extras)', replace: '' },
    ['test/integration/extra-parameters.test.ts'],
  ),
  fault(
    'a client in session mode loses what it has set by a RESET of something else',
    { file: SESSION_STATE, find: 'isKept && this.wasReset', replace: '!isKept && this.wasReset' },
    ['test/integration/connect-query.test.ts'],
  ),
  fault(
    'a client in session mode loses the user it has become by a RESET of something else',
    { file: SESSION_STATE, find: 'if (hasUser(this.base)) for', replace: 'if (this.base.size > 9) for' },
    ['test/integration/connect-query.test.ts'],
  ),
  fault(
    'a client is ended for what others have done to its server',
    { file: SESSION, find: 'if (isNew && (', replace: 'if (end.isUntouched && (' },
    ['test/integration/extra-parameters.test.ts'],
  ),
  fault(
    'a client in session mode is given another server in the middle of its session',
    { file: SESSION, find: 'if (isNew && (', replace: 'if ((' },
    ['test/integration/extra-parameters.test.ts'],
  ),
  fault(
    'a client whose server was no use waits behind those who keep making it so',
    {
      file: 'src/pool/pool.ts',
      find: "this.#moveClient(client, 'waiting', isFirst);",
      replace: "this.#moveClient(client, 'waiting');",
    },
    ['test/pool/pool.test.ts'],
  ),
  fault(
    'values that differ in case count as the same',
    {
      file: 'src/relay/tracked-parameters.ts',
      find: 'return value.toLowerCase() === current.toLowerCase() && CASELESS.has(name.toLowerCase());',
      replace: 'return value.toLowerCase() === current.toLowerCase() && name !== current;',
    },
    ['test/relay/tracked-parameters.test.ts', 'test/integration/session-parameters.test.ts'],
  ),
  fault(
    'a server is let go of before it was asked what a SET has led to',
    {
      file: SESSION_STATE,
      find: 'return this.#wasSet || this.#unread.size > 0;',
      replace: 'return this.#unread.size > 0;',
    },
    ['test/integration/session-parameters.test.ts', 'test/integration/isolation.test.ts'],
  ),
  fault(
    'a SET that nobody has asked about counts as undone',
    {
      file: SESSION_STATE,
      find: 'if (isClients && this.#reported.has(name)) continue;',
      replace: 'if (isClients) continue;',
    },
    ['test/integration/asked-parameters.test.ts'],
  ),
  fault(
    'what was rolled back follows the client',
    {
      file: 'src/server/asked-values.ts',
      find: 'isSet: source === null ? null : source === SESSION,',
      replace: 'isSet: true,',
    },
    ['test/integration/session-parameters.test.ts'],
  ),
  fault(
    'RESET leads a client to what the server has',
    {
      file: SESSION_STATE,
      find: 'const given = wasSet ? null : client.given.get(name);',
      replace: 'const given = wasSet ? null : client.given.get(value);',
    },
    ['test/integration/session-parameters.test.ts'],
  ),
  fault(
    'a reported value is taken for UTF-8, whatever the client’s encoding',
    {
      file: SESSION_STATE,
      find: 'const known = isUnread ? UNKNOWN : value;',
      replace: 'const known = value;',
    },
    ['test/integration/session-parameters.test.ts'],
  ),
  fault(
    'a client waits for ever for a server that falls silent while it is set to what the client gave',
    {
      file: 'src/server/interlude.ts',
      find: 'this.#own.mayBeLeft || (runsOurs && client.queryStartMs === 0)',
      replace: 'this.#own.mayBeLeft',
    },
    ['test/integration/asked-parameters.test.ts'],
  ),
  fault(
    'a client whose server was probed stays held',
    {
      file: 'src/server/interlude.ts',
      find: 'if (host.link !== client || !this.isInTheWay(client)) client.goOn();',
      replace: 'if (host.link !== client) client.goOn();',
    },
    ['test/integration/copy-probe.test.ts', 'test/integration/session-parameters.test.ts'],
  ),
  fault(
    'a client that waits for answers is forgotten when its server becomes another’s',
    {
      file: SERVER,
      find: 'return this.#client !== client || (',
      replace: 'return this.conn.isClosed || (',
    },
    ['test/integration/prepared-sql.test.ts'],
  ),
  fault(
    'a server on which a text has set something that nobody has read is used again',
    { file: SESSION_STATE, find: "(tag === 'set' || (tag", replace: '((tag' },
    ['test/integration/transaction-mode.test.ts'],
  ),
  fault(
    'a RESET by a client that gave nothing costs a question',
    {
      file: SESSION_STATE,
      find: '...client.extras.keys(), ...client.given.names()]',
      replace: '...client.extras.keys(), ...this.tracked.names.map((each) => each.toLowerCase())]',
    },
    ['test/integration/followed-edges.test.ts'],
  ),
  fault(
    'a SET LOCAL behind a RESET is none, whatever PostgreSQL says',
    {
      file: SESSION_STATE,
      find: 'const wasSet = isSet ?? (',
      replace: 'const wasSet = (this.wasReset ? false : isSet) ?? (',
    },
    ['test/integration/followed-edges.test.ts'],
  ),
  fault(
    'what the configuration changes of a tracked parameter follows nobody',
    {
      file: SESSION_STATE,
      find: 'if (client !== null) client.parameters[index] = known;',
      replace: 'if (client !== null && this.#wasSet) client.parameters[index] = known;',
    },
    ['test/integration/reported-parameters.test.ts'],
  ),
  fault(
    'a query of ours that is cancelled is run once less',
    { file: 'src/server/interlude.ts', find: 'const TRIES = 8;', replace: 'const TRIES = 7;' },
    ['test/integration/asked-parameters.test.ts'],
  ),
  fault(
    'a question that a statement_timeout has struck is struck by it again',
    { file: 'src/server/asked-values.ts', find: "'SET LOCAL statement_timeout=0;'", replace: "''" },
    ['test/integration/followed-edges.test.ts'],
  ),
  fault(
    'the order of a DateStyle that names none is the last client’s',
    {
      file: 'src/relay/tracked-parameters.ts',
      find: "key === 'datestyle' && !",
      replace: "key === 'datestyle' && !value.includes('ISO') && !",
    },
    ['test/relay/tracked-parameters.test.ts', 'test/integration/parameters.test.ts'],
  ),
  fault(
    'a value that is the server’s own by chance is not set',
    {
      file: 'src/relay/tracked-parameters.ts',
      find: 'return back !== null && back !== value && server.isSet[index] !== true;',
      replace: 'return back !== null && back !== value && current !== value;',
    },
    ['test/relay/tracked-parameters.test.ts', 'test/integration/session-parameters.test.ts'],
  ),
  fault(
    'a server on which SET ROLE was prepared and run is used again',
    {
      file: 'src/client/statement-filter.ts',
      find: 'if (statement.spoilsSession || statement.isGuess) this.#server.closeNeeded = true;',
      replace: '',
    },
    ['test/integration/transaction-mode.test.ts'],
  ),
  fault(
    'SET ROLE is looked for in a text’s first statement only',
    {
      file: 'src/prepared/sql-prefilter.ts',
      find: '  if (!several) {',
      replace: '  {',
    },
    ['test/prepared/sql-prefilter.test.ts', 'test/integration/transaction-mode.test.ts'],
  ),
  fault(
    'SET ROLE behind a name that is not in sight is not watched for',
    {
      file: 'src/client/identity-filter.ts',
      find: '      server.closeNeeded = true;\n      return asItIs',
      replace: '      return asItIs',
    },
    ['test/client/identity-filter.test.ts'],
  ),
  fault(
    'SET LOCAL ROLE costs a server connection',
    { file: 'src/prepared/sql-identity.ts', find: '!form.isLocal && ', replace: '' },
    ['test/prepared/sql-identity.test.ts', 'test/integration/transaction-mode.test.ts'],
  ),
  fault(
    'the client gets answers to our own requests',
    {
      file: 'src/relay/response-stream.ts',
      find: 'this.#dropping = this.#isSwallowed || action === ReplyAction.Rewrite;',
      replace: 'this.#dropping = action === ReplyAction.Rewrite;',
    },
    ['test/relay/response-stream.test.ts'],
  ),
  fault(
    'a server is linked as it is, without the parameters of its client',
    {
      file: 'src/client/alignment.ts',
      find: 'if (trackedSql === null && otherSql === null) {',
      replace: "if (trackedSql !== '') {",
    },
    ['test/integration/link.test.ts'],
  ),
  fault(
    'what the server says about a parameter is not remembered for the client',
    {
      file: SESSION_STATE,
      find: 'if (client !== null) client.parameters[index] = known;',
      replace: '',
    },
    ['test/integration/link.test.ts'],
  ),
  fault(
    'what the server says about a parameter is not remembered for the server',
    {
      file: SESSION_STATE,
      find: 'this.parameters[index] = known;',
      replace: 'this.parameters[index] ??= known;',
    },
    ['test/integration/link.test.ts'],
  ),
  fault(
    'statement mode lets transaction blocks through',
    {
      file: SERVER,
      find: "} else if (this.pool.limits.poolMode === 'statement' && this.dedicatedTo === null) {",
      replace: '} else if (this.closeNeeded) {',
    },
    ['test/integration/link.test.ts'],
  ),
  fault(
    'a waiting client’s bytes are kept without a copy',
    {
      file: 'src/client/held-bytes.ts',
      find: 'chunk.copy(buffer, this.#length, start, end);',
      replace: 'this.#buffer = chunk.subarray(start);',
    },
    ['test/client/held-bytes.test.ts', 'test/integration/link.test.ts'],
  ),
  fault(
    'a client that does not read makes the pooler keep what its server sends',
    {
      file: SERVER,
      find: 'sinkCongested(): void {\n    this.conn.pause();',
      replace: 'sinkCongested(): void {\n    this.conn.resume();',
    },
    ['test/integration/back-pressure.test.ts'],
  ),
  fault(
    'a message of any size is kept while it passes',
    {
      file: 'src/relay/response-stream.ts',
      find: 'bodyBytes <= CAPTURE_LIMIT;\n      default:\n        return false;',
      replace: 'bodyBytes <= CAPTURE_LIMIT;\n      default:\n        return true;',
    },
    ['test/integration/memory.test.ts'],
    {
      file: 'src/relay/response-stream.ts',
      find: 'if (scanner.bodyLeft > READ_LIMIT) {',
      replace: 'if (scanner.bodyLeft < 0) {',
    },
  ),
  fault(
    'a long search_path of one client is the next one’s',
    {
      file: 'src/relay/response-stream.ts',
      find: 'return !this.#isSwallowed;',
      replace: 'return !this.#isSwallowed && bodyBytes <= CAPTURE_LIMIT;',
    },
    ['test/relay/response-stream.test.ts'],
  ),
  fault(
    'a server that does not read makes the pooler keep what its client sends',
    { file: SESSION, find: 'this.targetIsCongested = true;', replace: 'this.targetIsCongested = false;' },
    ['test/integration/back-pressure.test.ts'],
  ),
  fault(
    'what a slow reader has not taken is queued without a copy',
    {
      file: 'src/net/conn-writes.ts',
      find: 'return this.current.write(Buffer.from(chunk.subarray(start + taken, end)));',
      replace: 'return this.current.write(chunk.subarray(start + taken, end));',
    },
    ['test/net/conn.test.ts'],
  ),
  fault(
    'bytes overtake others that are queued already',
    { file: 'src/net/conn-writes.ts', find: 'if (this.current.writableLength > 0) return 0;', replace: '' },
    ['test/net/conn.test.ts'],
  ),
  fault(
    'a cancel counts as done when its bytes are out',
    {
      file: 'src/server/cancel.ts',
      find: 'if (isSent) conn.write(cancelRequest(backendKey));',
      replace:
        "if (isSent) { conn.write(cancelRequest(backendKey)); done('successfully sent cancel request'); }",
    },
    ['test/server/cancel.test.ts'],
  ),
  fault(
    'a query that was counted wrongly goes on for the time limits behind the probe',
    {
      file: 'src/server/interlude.ts',
      find: 'client.answered(status, true);',
      replace: '',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'RELOAD has a server asked once more for what it is being asked for',
    {
      file: SERVER,
      find: 'if (client === null || this.#interlude.isInTheWay(client)) return;\n    if (!this.isClean()',
      replace: 'if (client === null) return;\n    if (!this.isClean()',
    },
    ['test/integration/reload-modes.test.ts'],
  ),
  fault(
    'what a Sync of ours alone has told of a transaction is forgotten behind a probe',
    { file: 'src/server/interlude.ts', find: '      tracker.txStatus = status;\n', replace: '' },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a Sync of ours ends a stretch of the client’s whose own is still to come',
    {
      file: 'src/relay/request-tracker.ts',
      find: 'this.queue.length === 0 && !this.#isStretchOpen) this.#awaitsReady',
      replace: 'this.queue.length === 0) this.#awaitsReady',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'a server that falls silent amid a probe has its client for ever',
    {
      file: 'src/server/interlude.ts',
      find: 'this.#own.isRunning || this.#own.isProbing',
      replace: 'this.#own.isRunning',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
  fault(
    'what came unasked takes the room of the error that ends the connection',
    { file: 'src/server/barrier.ts', find: '(isError ? 0 : this.#keptBytes)', replace: 'this.#keptBytes' },
    ['test/server/barrier.test.ts'],
  ),
  fault(
    'behind a COPY amid a barrier every ReadyForQuery waits for the next answer',
    { file: 'src/server/barrier.ts', find: '    this.#areEnded = !this.#isStretchOpen;\n', replace: '' },
    ['test/server/barrier.test.ts'],
  ),
  fault(
    'a server that has been probed is not read on as long as its client reads nothing',
    {
      file: 'src/server/own-queries.ts',
      find: '        this.#host.read(barrier);\n        conn.write',
      replace: '        conn.write',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
];
