import fc from 'fast-check';
import { mayBeginWithSet, mayConcernStatements } from '../../src/prepared/sql-prefilter.ts';
import { type ReadingOptions, readStatements, type SqlStatement } from '../../src/prepared/sql-statements.ts';

export const UTF8: ReadingOptions = { standardConformingStrings: true, clientEncoding: 'UTF8' };

/** What would change any text if it were read with it: before, and behind. */
const AROUND: readonly [string, string][] = [
  ['', ''],
  ["x'", "';EXECUTE beyond"],
  ['/*', '*/--\n"; $$ ) PREPARE'],
  ['$a$(E', "'\\'ALL; DISCARD ALL;"],
];

/** Reads a text that stands alone and amid other bytes, and gives its statements with offsets from its start. */
export function read(
  sql: string | Uint8Array,
  options: ReadingOptions = UTF8,
): readonly SqlStatement[] | null {
  const text = Buffer.from(sql as string);
  const answers = AROUND.map(([before, behind]) => {
    const bytes = Buffer.concat([Buffer.from(before), text, Buffer.from(behind)]);
    const start = before.length;
    const end = start + text.length;
    const statements = readStatements(bytes, start, end, options);
    const mayConcern = mayConcernStatements(bytes, start, end);
    if (!mayConcern && statements?.some((each) => CONCERNING.has(each.kind)) === true)
      throw new Error('the prefilter passed over a statement');
    const sets = statements?.some(({ kind }) => kind === 'set' || kind === 'reset') === true;
    if (sets && !mayBeginWithSet(bytes, start, end, true)) throw new Error('the prefilter passed over a SET');
    const moved = statements?.map((each) => moveBack(each, start)) ?? null;
    return { moved, mayConcern, json: JSON.stringify([moved, mayConcern]) };
  });
  const [alone] = answers;
  const odd = answers.find((each) => each.json !== alone?.json);
  if (odd !== undefined) throw new Error(`read beyond its end: ${odd.json} for ${alone?.json}`);
  return alone?.moved ?? null;
}

/** What the prefilter must not pass over. */
const CONCERNING = new Set(['prepare', 'execute', 'deallocate', 'deallocate-all', 'discard-all']);

function moveBack(statement: SqlStatement, by: number): SqlStatement {
  const entries = Object.entries(statement).map(([key, value]) => [
    key,
    typeof value === 'number' ? value - by : value,
  ]);
  return Object.fromEntries(entries) as SqlStatement;
}

/** The statements as texts with their kinds, for tables: `execute "a" [EXECUTE a(1)]`. */
export function outline(sql: string, options: ReadingOptions = UTF8): string[] | null {
  const bytes = Buffer.from(sql);
  const text = (start: number, end: number) => bytes.toString('utf8', start, end);
  return (
    read(sql, options)?.map((each) => {
      const local = each.kind === 'set' && each.isLocal ? ' local' : '';
      const name = 'name' in each ? ` ${Buffer.from(each.name, 'latin1').toString()}` : '';
      const span = 'nameStart' in each ? ` <${text(each.nameStart, each.nameEnd)}>` : '';
      const rest = each.kind === 'prepare' ? ` <${text(each.restStart, each.end)}>` : '';
      return `${each.kind}${local}${name}${span}${rest} [${text(each.start, each.end)}]`;
    }) ?? null
  );
}

/** A statement of a made-up text. */
export interface Piece {
  readonly sql: string;
  readonly kind: SqlStatement['kind'];
  /** Of a prepared statement, as PostgreSQL has it. */
  readonly name?: string;
  /** Where the name stands in `sql`, as written. */
  readonly written?: string;
}

/** Space and comments, with all in them that must not be taken for something else. At least one byte each. */
const gap = fc.constantFrom(
  ...[' ', '\n', '\t', '\r\n', '\f', '  ', '-- c\n', '-- \' " $$ ; /*\r', '/**/', '/* ; EXECUTE x */'],
  ...['/* \' /* ; */ " */', '/*/**/*/', '/***/', '/*--*/', '--\n', ' -- $a$\n ', '/* // ** */'],
);

/** Constants and expressions that PostgreSQL 14 and later take, whatever standard_conforming_strings says. */
const value = fc.constantFrom(
  ...["'a;b'", "'it''s; EXECUTE x'", "E'\\';'", "E'a\\\\'", "e'\\'\\';'", "$$;'$$", '$t$ $$ ; $T$ $t$'],
  ...["B'01'", "b''", "X'1F'", "N';'", "n'a''b'", "'a'\n'b;'", "'a' -- c\n\t'b;'", "E'a'\n'\\';'", "''''"],
  ...['1', '.5', '1.', '1e5', '1.5E-3', '10', '(1)', '((1)+(2))', "ARRAY['[;']", "(ARRAY[';'])[1]"],
  ...[
    '1-- c\n+1',
    '1+/* ; */2',
    '1*(2)',
    "'a'||';'",
    'CASE WHEN true THEN 1 END',
    '- -1',
    '1<-1',
    '$é$;$e$$é$',
  ],
  ...['1::text', "CAST('1' AS int)", "interval '1' day", '2 OPERATOR(pg_catalog.+) 3', '$a1$$a$;$a1$'],
);
const label = fc.constantFrom('"a;b"', '"a""b;"', '"$$"', '"\'"', 'a$b$', 'é', 'U&"\\0061;"', '"--"', '"/*"');

const words = (...texts: (string | fc.Arbitrary<string>)[]): fc.Arbitrary<string> =>
  fc
    .tuple(...texts.flatMap((text) => [gap, typeof text === 'string' ? anyCase(text) : text]))
    .map((parts) => parts.slice(1).join(''));

/** A keyword in lower, upper or mixed case. */
function anyCase(word: string): fc.Arbitrary<string> {
  const mixed = word.replace(/.(.)?/g, (two) => two[0]?.toUpperCase() + two.slice(1).toLowerCase());
  return fc.constantFrom(word, word.toUpperCase(), word.toLowerCase(), mixed);
}

const select = fc.oneof(
  words('SELECT', value),
  words('SELECT', value, 'AS', label),
  words('SELECT', value, ',', value),
);

/** Ways to write a name of ASCII letters, digits and `_` that begins with a letter. */
function spelling(name: string): fc.Arbitrary<string> {
  const escaped = (escape: string) => escape + (name.codePointAt(0) ?? 0).toString(16).padStart(4, '0');
  return fc.constantFrom(
    name,
    name.toUpperCase(),
    `"${name}"`,
    `U&"${name}"`,
    `U&"${escaped('\\')}${name.slice(1)}"`,
    `u&"${escaped('!')}${name.slice(1)}" UESCAPE '!'`,
    `U&"${escaped('/+00')}${name.slice(1)}"/**/uescape\n'/'`,
  );
}

/** Names that could be taken for something else where a name stands. */
const KEYWORD_NAMES: readonly [name: string, sql: string][] = [
  ['transaction', 'transaction'],
  ['prepare', 'Prepare'],
  ['all', '"all"'],
  ['as', '"as"'],
];

/** Names of the statement with this number, each with the ways to write it. */
function names(index: number): fc.Arbitrary<{ name: string; spelling: fc.Arbitrary<string> }> {
  const plain = `ps${index}_a`;
  const odd = [
    `"Ps ${index}"`,
    `"ps;${index}"`,
    `"p""${index}"`,
    `"'${index}--"`,
    `"/*${index}"`,
    `ps$${index}$`,
  ];
  const long = `ps${index}${'_'.repeat(70)}`;
  const wide = `ps${index}${'x'.repeat(index % 3)}${'é'.repeat(40)}`;
  const escaped = `U&"\\00e9\\\\\\D83D\\DE00""${index}"`;
  const fixed = (name: string, sql: string) => ({ name, spelling: fc.constant(sql) });
  let kept = wide;
  while (Buffer.byteLength(kept) > 63) kept = kept.slice(0, -1);
  return fc.constantFrom(
    { name: plain, spelling: spelling(plain) },
    { name: plain, spelling: spelling(plain) },
    ...odd.map((sql) => fixed(sql.replace(/^"|"$/g, '').replace('""', '"'), sql)),
    { name: long.slice(0, 63), spelling: fc.constantFrom(long, `"${long}"`, long.slice(0, 64)) },
    fixed(kept, wide),
    fixed(`é\\😀"${index}`, escaped),
    ...KEYWORD_NAMES.slice(index, index + 1).map(([name, sql]) => fixed(name, sql)),
  );
}

const other: fc.Arbitrary<Piece> = fc
  .oneof(
    select,
    words('EXPLAIN', select),
    words('EXPLAIN', '(', 'COSTS', 'off', ')', select),
    words('SELECT', '1', 'AS', 'execute'),
    words('SELECT', '1', 'begin', ',', '2', 'atomic'),
    words('VALUES', '(', value, ')'),
    words('DO', fc.constantFrom("'BEGIN PERFORM 1; END'", '$do$BEGIN PERFORM 1; END$do$')),
    words(
      'CREATE',
      'OR',
      'REPLACE',
      'RULE',
      'r',
      'AS',
      'ON',
      'INSERT',
      'TO',
      'pieces',
      'DO',
      '(',
      select,
      ';',
    ).chain((sql) => words(select, ';', ')').map((rest) => `${sql} ${rest}`)),
    words(
      'CREATE',
      'OR',
      'REPLACE',
      'FUNCTION',
      'pg_temp.f(begin int DEFAULT 1)',
      'RETURNS',
      'int',
      'BEGIN',
      'ATOMIC',
    ).chain((sql) =>
      words(select, ';', select, ';', 'SELECT', '1', ';', 'END').map((rest) => `${sql} ${rest}`),
    ),
    words('CREATE', 'OR', 'REPLACE', 'PROCEDURE', 'pg_temp.p()', 'BEGIN', 'ATOMIC', 'END'),
    words('CREATE', 'OR', 'REPLACE', 'FUNCTION', 'pg_temp.g()', 'RETURNS', 'int', 'RETURN', '1'),
  )
  .map((sql) => ({ sql, kind: 'other' as const }));

const setting = fc.constantFrom("'a;b'", '1', 'DEFAULT', 'a', '"A;"', "E'\\';'", '$$;$$');
const parameter: fc.Arbitrary<Piece> = fc.oneof(
  words('SET', fc.constantFrom('', 'LOCAL', 'SESSION'), 'pieces.x', fc.constantFrom('=', 'TO'), setting).map(
    (sql) => ({ sql, kind: 'set' as const }),
  ),
  words('SET', 'TIME', 'ZONE', "'UTC'").map((sql) => ({ sql, kind: 'set' as const })),
  words('RESET', 'pieces.x').map((sql) => ({ sql, kind: 'reset' as const })),
);

/** What is done to one prepared statement: made, used in some ways, and perhaps dropped. */
function life(index: number): fc.Arbitrary<readonly Piece[]> {
  return names(index).chain(({ name, spelling: written }) => {
    const piece = (kind: Piece['kind'], head: fc.Arbitrary<string>, tail: fc.Arbitrary<string>) =>
      fc.tuple(head, gap, written, gap, tail).map(([before, space, way, space2, behind]) => ({
        sql: `${before}${space}${way}${space2}${behind}`,
        kind,
        name,
        written: way,
      }));
    const none = fc.constant('');
    const table = (suffix: string) => `pg_temp.t${index}${suffix}`;
    const prepare = piece(
      'prepare',
      words('PREPARE'),
      fc.oneof(words('AS', select), words('(int)', 'AS', 'SELECT', '$1')),
    );
    const create = words('CREATE', fc.constantFrom('TEMP', 'LOCAL TEMPORARY'), 'TABLE');
    return prepare.chain((made) => {
      const args = made.sql.endsWith('$1') ? words('(', '7', ')') : fc.constantFrom('', '/* ; */');
      const executes = fc.oneof(
        piece('execute', words('EXECUTE'), args),
        piece(
          'execute',
          words('EXPLAIN', fc.constantFrom('', '(COSTS off)', '(COSTS off, VERBOSE)', 'VERBOSE'), 'EXECUTE'),
          args,
        ),
      );
      const tables = fc
        .tuple(
          create,
          fc.constantFrom('', 'IF NOT EXISTS'),
          gap,
          fc.constantFrom('(a)', '', 'ON COMMIT DROP', 'WITH (fillfactor=70)'),
        )
        .chain(([head, exists, space, options]) =>
          piece(
            'execute',
            words(fc.constant(head), exists, table('a'), options, 'AS', 'EXECUTE').map((sql) => sql + space),
            args.map((sql) => `${sql} WITH NO DATA`),
          ),
        );
      const single = made.sql.includes(',') ? executes : fc.oneof({ weight: 3, arbitrary: executes }, tables);
      const drop = piece('deallocate', words('DEALLOCATE', fc.constantFrom('', 'PREPARE')), none);
      const dropAll = words('DEALLOCATE', fc.constantFrom('', 'PREPARE'), 'ALL').map((sql) => ({
        sql,
        kind: 'deallocate-all' as const,
      }));
      const ends = fc.oneof(
        fc.constant([]),
        drop.map((end) => [end]),
        fc.constant([]),
        drop.map((end) => [end]),
        dropAll.map((end) => [end]),
      );
      return fc
        .tuple(fc.array(executes, { maxLength: 2 }), fc.array(single, { maxLength: 1 }), ends)
        .map(([used, stored, end]) => [made, ...used, ...stored, ...end]);
    });
  });
}

/** A text with the statements that it consists of. PostgreSQL takes all of them, in this order, without an error. */
export interface MadeText {
  readonly sql: string;
  readonly pieces: readonly Piece[];
}

export const madeText: fc.Arbitrary<MadeText> = fc
  .tuple(
    fc
      .nat({ max: 4 })
      .chain((count) => fc.tuple(...Array.from({ length: count }, (_, index) => life(index)))),
    fc.array(fc.oneof(other, parameter), { maxLength: 4 }),
    fc.array(fc.constantFrom(';', ' ; ', ';;', ';/* ; */;', '\n;-- ;\n'), { minLength: 40, maxLength: 40 }),
    fc.constantFrom('', ' ', ';', '--', '-- ;', ';/**/'),
    fc.constantFrom('', '\n', ';', '/* ; */'),
  )
  .map(([lives, others, stops, tail, head]) => {
    const pieces = lives.flat();
    others.forEach((piece, index) => {
      pieces.splice((index * 7) % (pieces.length + 1), 0, piece);
    });
    const sql = pieces.map((piece, index) => (index === 0 ? '' : stops[index % stops.length]) + piece.sql);
    return { sql: head + sql.join('') + tail, pieces };
  });
