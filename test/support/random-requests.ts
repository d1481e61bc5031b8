import { frontend, int16, int32, message } from './peer-messages.ts';
import type { Random } from './random.ts';

const { parse, bind, bindTexts, describe, execute, close, flush, sync, query } = frontend;
const { copyData, copyDone, copyFail } = frontend;

/** One thing that a client may send. */
export interface Piece {
  /** For the message of a failure. */
  readonly name: string;
  readonly bytes: Buffer;
  /** A Query or a FunctionCall is in it, which has an answer to its end without a Sync. */
  readonly isSimple: boolean;
}

/** Table that requests copy into, and function that raises a notice and gives its argument back. */
export const REQUESTED_SCHEMA = `
  CREATE TABLE rows_here (n int);
  CREATE FUNCTION noisy(n int) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN RAISE NOTICE 'number %', n; RETURN n; END $$`;

/**
 * Statements and portals. Behind a Sync that follows bad data of a COPY in the extended protocol whether PostgreSQL
 * skips or answers cannot be told, nor be found out before the next Sync: names given there may be lost, see
 * docs/differences.md.
 */
export const NAMES: readonly string[] = ['', 'a', 'b'];

/** What requests are made of. */
export interface Vocabulary {
  readonly names: readonly string[];
  /** Whether BEGIN is among the statements. */
  readonly hasBlocks: boolean;
}

/** SQL's EXECUTE of a BEGIN or COMMIT that was prepared by Parse ends PostgreSQL's session, at best. */
const TEXTS = ['SELECT 1', 'SELECT generate_series(1, 3)', 'SELECT 1/0', ''];

/** Statements of which each runs by itself, in either protocol. */
const STATEMENTS = [
  'SELECT 1',
  'SELECT generate_series(1, 3)',
  'SELECT 1/0',
  '',
  'COMMIT',
  'SELECT noisy(n) FROM generate_series(1, 3) n',
  'SELECT 1/(3 - noisy(n)) FROM generate_series(1, 4) n',
  'COPY (SELECT generate_series(1, 3)) TO STDOUT',
  'COPY (SELECT 1/(3 - n) FROM generate_series(1, 4) n) TO STDOUT',
  "SET TimeZone = 'Asia/Tokyo'",
  "SET LOCAL application_name = 'for now'",
  "SET DateStyle = 'German'",
  'RESET TimeZone',
  'SHOW TimeZone',
];

/** OIDs of types and of functions of two int4, which PostgreSQL never changes: one that adds and one that divides. */
const INT4 = 23;
const INT8 = 20;
const INT4PL = 177;
const INT4DIV = 154;

/** Requests in no sensible order, most of which fail for lack of what they refer to. */
export function randomPiece(random: Random, vocabulary: Vocabulary): Piece {
  const { names, hasBlocks } = vocabulary;
  const name = random.pick(names);
  const sql = random.pick(hasBlocks ? [...STATEMENTS, 'BEGIN', 'BEGIN'] : STATEMENTS);
  const text = random.pick(TEXTS);
  const control = random.pick(hasBlocks ? ['BEGIN', 'COMMIT'] : ['COMMIT']);
  // A stray Execute of the unnamed portal, behind SQL's EXECUTE in it and a failed transaction, ends PostgreSQL 18.4.
  const portal = random.pick(['a', 'b']);
  const third = names.length > 1 ? 'c' : '';
  const statement = statementSql(random, name);
  return random.pick<() => Piece>([
    // A query of PostgreSQL's behind it: it drops the unnamed statement, which a lone DEALLOCATE here does not reach.
    () => simple(`query ${statement}`, query(statement), query('SELECT 8')),
    () => simple(`query ${statement}`, query(statement), query('SELECT 8')),
    () => extended(`run ${statement}`, parse('', statement), bind('', ''), execute('')),
    () => (third === '' ? SYNC : named(random, statement)),
    () => (third === '' ? SYNC : AGAIN),
    () => (third === '' ? SYNC : preparedLate(random, name, portal)),
    () => extended(`parse ${name}: ${text}`, parse(name, text)),
    () => extended(`parse ${third}: ${control}`, parse(third, control)),
    () => extended(`run ${third}`, bind('', third), execute('')),
    () => extended(`close S ${third}`, close('S', third)),
    () => extended(`parse ${name} bad`, parse(name, 'SELECT no_such_column')),
    () => extended(`parse ${name} of an int`, message('P', name, 'SELECT $1 + 1', int16(1), INT4)),
    () => extended(`parse ${name} of a bigint`, message('P', name, 'SELECT $1 + 1', int16(1), INT8)),
    () => extended(`run ${name} with a number`, bindTexts('', name, ['41']), describe('P', ''), execute('')),
    () => extended(`run ${name} with no number`, bindTexts('', name, ['x']), execute('')),
    () => extended(`run ${name} undescribed`, close('P', portal), bind(portal, name), execute(portal)),
    () => extended(`run ${name} in ${portal}, described late`, ...late(random, name, portal)),
    () => extended(`bind ${name}`, bind(name, random.pick(names))),
    () => extended(`describe S ${name}`, describe('S', name)),
    () => extended(`describe P ${name}`, describe('P', name)),
    () => extended(`execute ${portal}`, execute(portal)),
    () => extended(`execute ${portal} 1 row`, message('E', portal, 1)),
    () => extended(`bind and execute ${portal} in parts`, inParts(random, portal, name)),
    () => extended(`close S ${name}`, close('S', name)),
    () => extended(`close P ${name}`, close('P', name)),
    () => extended(`run ${sql}`, parse('', sql), bind('', ''), execute('')),
    () => extended(`run and describe ${sql}`, parse('', sql), bind('', ''), describe('P', ''), execute('')),
    () => simple(`query ${sql}`, query(sql)),
    () => simple(`query ${sql}`, query(sql)),
    () => simple('query of two', query('SELECT 1; SELECT 2')),
    () => simple(`query of two, ${sql}`, query(`SELECT 1; ${sql}`)),
    () => simple('query of two, one fails', query('SELECT 1; SELECT 1/0')),
    () => simple('query ROLLBACK', query('ROLLBACK')),
    () => simple('listen and notify', query("LISTEN news; NOTIFY news, 'now'"), query('UNLISTEN *')),
    () => simple('call of a function', call(INT4PL, 1, 2)),
    () => simple('call of a function that fails', call(INT4DIV, 1, 0)),
    () => extended('flush', flush()),
    () => SYNC,
    () => SYNC,
    () => extended('stray copy data', copyData('1\n')),
    () => extended('stray copy done', copyDone()),
    () => extended('stray copy fail', copyFail('stray')),
  ])();
}

/** A Sync; none of its neighbours waits for it. */
export const SYNC: Piece = { name: 'sync', bytes: sync(), isSimple: false };

/** What {@link named} has prepared. DISCARD ALL is refused behind others. */
const AGAIN = extended('run named again', sync(), bind('', 's'), execute(''), sync());

/**
 * A COPY with what a client may send while it is on, to its CopyDone or CopyFail. With a Sync behind bad data
 * nothing on the wire tells whether PostgreSQL swallowed it in COPY mode or answers it after the error, so how
 * many answers are still to come has to be found out by a probe.
 */
export function randomCopyIn(random: Random): Piece {
  const sql = 'COPY rows_here FROM STDIN';
  const isSimple = random.below(2) === 0;
  const parts = [isSimple ? query(sql) : Buffer.concat([parse('', sql), bind('', ''), execute('')])];
  const names = [isSimple ? 'copy' : 'extended copy'];
  const add = (name: string, bytes: Buffer) => {
    names.push(name);
    parts.push(bytes);
  };
  for (let i = random.below(5); i > 0; i--) {
    const kind = random.below(5);
    if (kind === 0) add('data', copyData('1\n2\n'));
    else if (kind === 1) add('cut data', copyData('3'));
    else if (kind === 2) add('flush', flush());
    else if (kind === 3) add('sync', sync());
    else add('bad data', copyData('\nx\n'));
  }
  if (random.below(3) > 0) add('done', copyDone());
  else add('fail', copyFail('given up'));
  return { name: names.join(' '), bytes: Buffer.concat(parts), isSimple };
}

/** SQL about a prepared statement of this name; for the unnamed one something else. */
function statementSql(random: Random, name: string): string {
  if (name === '') return 'SELECT 8';
  const named = `"${name}"`;
  return random.pick([
    `PREPARE ${named} AS SELECT 5`,
    `PREPARE ${named} (int) AS SELECT $1 + 1`,
    `PREPARE ${named} AS SELECT no_such_column`,
    `EXECUTE ${named}`,
    `EXECUTE ${named}`,
    `EXECUTE ${named} (1)`,
    `EXPLAIN (COSTS OFF) EXECUTE ${named}`,
    `DEALLOCATE ${named}`,
    `DEALLOCATE ${named}`,
    'DEALLOCATE ALL',
    'DISCARD ALL',
    `PREPARE ${named} AS SELECT 6; EXECUTE ${named}; DEALLOCATE ${named}`,
    `EXECUTE ${named}; SELECT 1/0; DEALLOCATE ${named}`,
    `DEALLOCATE ${named}; PREPARE ${named} AS SELECT 7`,
  ]);
}

/** A statement by a name that no other has, described in one way or the other, or not, and run. */
function named(random: Random, sql: string): Piece {
  const [before, portal] = [random.pick([[], [describe('S', 's')]]), random.pick([[], [describe('P', '')]])];
  const run = [...before, bind('', 's'), ...portal, execute('')];
  return extended(`run named ${sql}`, close('S', 's'), parse('s', sql), ...run);
}

/** A portal that prepares `name`, which is let go of before it does, or given: an error has another position then. */
function preparedLate(random: Random, name: string, portal: string): Piece {
  const by = random.pick(['', 's']);
  const sql = statementSql(random, name);
  const text = sql.startsWith('PREPARE') && !sql.includes(';') ? sql : 'SELECT 8';
  const given = text.includes('no_such') ? [] : [parse(name, 'SELECT 1')];
  const between = random.pick([[close('S', name)], given, []]);
  const made = [close('P', portal), close('S', by), parse(by, text), bind(portal, by)];
  return extended(`bind ${text} by '${by}', run late`, ...made, ...between, execute(portal));
}

/** A portal of three rows that is executed with a limit up to four times. */
function inParts(random: Random, portal: string, name: string): Buffer {
  const executes = Array.from({ length: 1 + random.below(4) }, () =>
    message('E', portal, 1 + random.below(2)),
  );
  const sql = 'SELECT noisy(n) FROM generate_series(1, 3) n';
  return Buffer.concat([close('S', name), parse(name, sql), bind(portal, name), ...executes]);
}

/** A portal that is described once it has run, or in between, with its statement described or given anew meanwhile. */
function late(random: Random, name: string, portal: string): Buffer[] {
  const between = [
    describe('S', name),
    close('S', name),
    parse(name, 'SELECT * FROM rows_here WHERE n < 0'),
    flush(),
    sync(),
    execute(portal),
  ];
  const parts = Array.from({ length: 1 + random.below(4) }, () => random.pick(between));
  return [close('P', portal), bind(portal, name), ...parts, describe('P', portal), execute(portal)];
}

/** A FunctionCall with two int4 in binary format. */
function call(oid: number, left: number, right: number): Buffer {
  const binary = [int16(1), int16(1)];
  return message('F', oid, ...binary, int16(2), 4, int32(left), 4, int32(right), int16(1));
}

function simple(name: string, ...parts: readonly Buffer[]): Piece {
  return { name, bytes: Buffer.concat(parts), isSimple: true };
}

function extended(name: string, ...parts: readonly Buffer[]): Piece {
  return { name, bytes: Buffer.concat(parts), isSimple: false };
}
