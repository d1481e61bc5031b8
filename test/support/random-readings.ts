import { frontend } from './peer-messages.ts';
import type { Random } from './random.ts';
import { type Piece, SYNC } from './random-requests.ts';

const { parse, bind, bindTexts, describe, execute, close, flush, query, sync } = frontend;

/** What decides how texts are read, and values of it. */
const VALUES = {
  DateStyle: ['ISO, DMY', 'ISO, MDY', 'German'],
  TimeZone: ['UTC', 'Asia/Tokyo', 'America/New_York'],
  IntervalStyle: ['postgres', 'sql_standard'],
  standard_conforming_strings: ['on', 'off'],
  client_encoding: ['UTF8', 'LATIN1', 'WIN1252'],
} as const;
const NAMES = Object.keys(VALUES) as (keyof typeof VALUES)[];

/** Texts of which each says by its rows how it was read; their bytes are valid in all these encodings. */
const TEXTS = [
  "SELECT '01/02/2003'::date",
  "SELECT '01/02/2003'::date - DATE '2003-01-02'",
  "SELECT '2003-02-01 00:00'::timestamptz AT TIME ZONE 'UTC'",
  "SELECT extract(epoch FROM '-1 2:03:04'::interval)",
  String.raw`SELECT 'a\\b', length('a\\b')`,
  "SELECT U&'abc'",
  "SELECT encode(convert_to('ä', 'UTF8'), 'hex')",
  "SELECT encode(convert_to('ä', 'UTF8'), 'hex'), '01/02/2003'::date, '\\\\'",
  'SELECT 1',
];

/** Of which the bytes are read alike, whatever is set: others nobody reads in a PREPARE that is parsed by a name behind a SET. */
const PLAIN_TEXTS = TEXTS.filter((text) => /^[^\\&\x80-\uffff]*$/.test(text));

const STATEMENTS = ['a', 'b', 'c'];

/** A SET, or what undoes one. */
function change(random: Random): string {
  const name = random.pick(NAMES);
  const value = random.pick(VALUES[name]);
  return random.pick([
    `SET ${name} = '${value}'`,
    `SET ${name} = '${value}'`,
    `SET SESSION ${name} TO '${value}'`,
    `SET LOCAL ${name} = '${value}'`,
    `SET LOCAL ${name} = '${value}'`,
    `RESET ${name}`,
    `SET ${name} TO DEFAULT`,
    random.below(4) === 0 ? 'RESET ALL' : `SET "${name}" TO '${value}'`,
  ]);
}

const ENDS = ['COMMIT', 'END', 'ROLLBACK', 'ABORT', 'COMMIT AND CHAIN', 'ROLLBACK AND CHAIN'];

function control(random: Random): string {
  return random.pick(['BEGIN', 'BEGIN', 'SAVEPOINT s', 'ROLLBACK TO s', 'RELEASE s', ...ENDS]);
}

/** A request that changes how texts are read, that prepares one or uses it. */
export function randomReading(random: Random): Piece {
  const name = random.pick(STATEMENTS);
  const text = random.pick(TEXTS);
  const plain = random.pick(PLAIN_TEXTS);
  const set = random.below(4) === 0 ? control(random) : change(random);
  const verb = control(random);
  const by = random.pick(['', 'g']);
  return random.pick<() => Piece>([
    () => simple(set),
    () => simple(set),
    () => unnamed(set),
    () => unnamed(set),
    () => simple(verb),
    () => unnamed(verb),
    () => extended(`parse ${name}: ${text}`, parse(name, text)),
    () => extended(`parse ${name}: ${text}`, parse(name, text)),
    () => extended(`close and parse ${name}: ${text}`, close('S', name), parse(name, text)),
    () => extended(`close and parse ${name}: ${text}`, close('S', name), parse(name, text)),
    () => simple(`PREPARE ${name} AS ${text}`),
    () => simple(`DEALLOCATE ${name}; PREPARE ${name} AS ${text}`),
    () => unnamed(`PREPARE ${name} AS ${text}`),
    () => anew(`${set}; PREPARE e AS ${text}`),
    () => simple(`PREPARE ${name} AS ${text}; ${set}; EXECUTE ${name}`),
    () => anew(`${verb}; ${set}; PREPARE e AS ${text}; ${control(random)}`),
    () => run('e'),
    () => run(name),
    () => run(name),
    () => run(name),
    () => simple(`EXECUTE ${name}`),
    () => simple(`EXECUTE ${name}; ${set}`),
    () => unnamed(`EXECUTE ${name}`),
    () => extended(`close ${name}`, close('S', name)),
    () => simple(`DEALLOCATE ${name}`),
    // Prepared, or bound, and executed at some other time.
    () => extended(`parse d: ${set}`, close('S', 'd'), parse('d', set)),
    () => extended('run d', bind('', 'd'), execute('')),
    () => extended('bind d as p', close('P', 'p'), bind('p', 'd')),
    () => extended(`bind ${set} as p`, close('P', 'p'), parse('', set), bind('p', '')),
    // By a name that nothing else takes meanwhile.
    () =>
      extended(
        `bind PREPARE f AS ${plain} by '${by}' as p`,
        close('S', 'f'),
        close('P', 'p'),
        close('S', by),
        parse(by, `PREPARE f AS ${plain}`),
        bind('p', by),
      ),
    () => run('f'),
    () => extended('execute p', execute('p')),
    () => simple('SELECT 1/0'),
    () => unnamed('SELECT 1/0'),
    () => extended('flush', flush()),
    () => simple(`SHOW ${random.pick(NAMES)}`),
    () => SYNC,
    () => SYNC,
  ])();
}

function run(name: string): Piece {
  return extended(`run ${name}`, bindTexts('', name, []), describe('P', ''), execute(''));
}

/**
 * A Query in which `e` is prepared that stands for nothing before: a server cannot be taught what a name is taken for where
 * the transaction has failed that the Query ends.
 */
function anew(sql: string): Piece {
  return {
    name: `query ${sql}`,
    bytes: Buffer.concat([close('S', 'e'), sync(), query(sql)]),
    isSimple: true,
  };
}

function unnamed(sql: string): Piece {
  return extended(`run ${sql}`, parse('', sql), bind('', ''), execute(''));
}

function simple(sql: string): Piece {
  return { name: `query ${sql}`, bytes: query(sql), isSimple: true };
}

function extended(name: string, ...parts: readonly Buffer[]): Piece {
  return { name, bytes: Buffer.concat(parts), isSimple: false };
}
