import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

/** A file here, and what stands in it: the title of a test, or what a part of one begins with. */
type Shown = readonly [file: string, text: string];

/** Each sentence of docs/transaction-mode.md below its introduction, in order, and which tests show it. */
const CLAIMS: readonly (readonly [sentence: string, by: readonly [Shown, ...Shown[]]])[] = [
  [
    'Prepared statements follow the client, by protocol and as SQL (`max_prepared_statements`).',
    [['transaction-mode', 'Prepared statements follow the client']],
  ],
  [
    'Parameters that PostgreSQL reports follow the client: `client_encoding`, `DateStyle`, `TimeZone`, `IntervalStyle`, `standard_conforming_strings`, `application_name`, from PostgreSQL 18 on `search_path`, and a few more.',
    [
      ['transaction-mode', 'Parameters that PostgreSQL reports follow the client'],
      ['parameters', '%s follows a SET to whichever server comes next, and reaches nobody else'],
    ],
  ],
  [
    'Parameters given when connecting follow the client, whatever they are, also those in `options`.',
    [['extra-parameters', 'parameters given at the start, in options, too, are there in every transaction']],
  ],
  [
    'A `SET` of one of them does, too, and RESET goes back to what was given.',
    [
      ['session-parameters', 'follows a SET of the same parameter, which reaches nobody who gave the same'],
      ['extra-parameters', 'RESET goes back to what was given'],
    ],
  ],
  [
    'Parameters that `track_extra_parameters` names follow the client, reported or not (see below).',
    [
      ['transaction-mode', 'Parameters that `track_extra_parameters` names follow the client'],
      ['parameters', 'of track_extra_parameters follows its client too'],
    ],
  ],
  [
    'A server connection on which a client has become another user is not used again: `SET ROLE` and `SET SESSION AUTHORIZATION` are read in the text, in a statement prepared before, too.',
    [['transaction-mode', 'A server connection on which a client has become another user is not used again']],
  ],
  ['`SET LOCAL ROLE` costs nothing.', [['transaction-mode', 'const kept = await roleAfter(']]],
  [
    'A list of statements above 64 KiB is read on its way only as far as its beginning: there any later SET counts as one.',
    [['transaction-mode', 'const [harmless, long] =']],
  ],
  ['`SET LOCAL` ends with the transaction.', [['transaction-mode', '`SET LOCAL` ends with the transaction']]],
  [
    '`pg_advisory_xact_lock` ends with the transaction.',
    [['transaction-mode', '`pg_advisory_xact_lock` ends with the transaction']],
  ],
  [
    "A temporary table made `ON COMMIT DROP` in a transaction is the client's alone.",
    [['transaction-mode', 'A temporary table made `ON COMMIT DROP`']],
  ],
  [
    'A cursor without `WITH HOLD` ends with the transaction.',
    [['transaction-mode', 'A cursor without `WITH HOLD` ends with the transaction']],
  ],
  [
    '`NOTIFY` is delivered to everybody who listens.',
    [['transaction-mode', '`NOTIFY` is delivered to everybody who listens']],
  ],
  [
    'A replication connection (`replication=database` and the like) is a server connection of its own, SQL and all.',
    [['transaction-mode', 'A replication connection']],
  ],
  [
    '`SET` of any other parameter stays with the server connection: the next client has it, and this client may not.',
    [['transaction-mode', '`SET` of any other parameter stays with the server connection']],
  ],
  [
    "A parameter or role that a function sets, `set_config` included, stays with the server connection where PostgreSQL doesn't report it.",
    [['transaction-mode', 'A parameter or role that a function sets, `set_config` included, stays']],
  ],
  [
    'So does what a `DO` block or a procedure sets.',
    [
      ['transaction-mode', "'a DO block':"],
      ['transaction-mode', "'a procedure':"],
    ],
  ],
  [
    '`LISTEN` stays with the server connection: whoever is linked when a notification comes gets it, and with nobody linked it is dropped.',
    [['transaction-mode', '`LISTEN` stays with the server connection']],
  ],
  [
    "A session's advisory lock stays with the server connection: the client that took it cannot free it from another one, and the next client on that connection holds it.",
    [['transaction-mode', 'A session’s advisory lock stays with the server connection']],
  ],
  [
    'A temporary table stays with the server connection: the next client sees it, and this client may not.',
    [['transaction-mode', 'A temporary table stays with the server connection']],
  ],
  [
    'A `WITH HOLD` cursor stays with the server connection: the next client can fetch from it.',
    [['transaction-mode', 'A `WITH HOLD` cursor stays with the server connection']],
  ],
  [
    '`LOAD` loads a library into one server connection, where it stays.',
    [['transaction-mode', '`LOAD` loads a library into one server connection']],
  ],
  [
    'Values that PostgreSQL reports by itself are known.',
    [
      ['followed-edges', 'is asked for nothing'],
      ['parameters', '%s follows a SET to whichever server comes next'],
    ],
  ],
  [
    'Of others, those that the client gave when connecting and those that `track_extra_parameters` names, nobody hears: so where a transaction has had a SET, RESET or DISCARD ALL (PostgreSQL says that one was carried out, in whichever protocol, prepared or not), one query of ours asks for them before the server connection is given to another client.',
    [
      ['session-parameters', 'is asked for once behind a transaction with a SET, and never behind others'],
      ['session-parameters', 'follows a SET in %s'],
    ],
  ],
  [
    "It also tells what was set and what went back to the server's own value, so that a client has what it gave again after RESET.",
    [['session-parameters', 'it has again after RESET and DISCARD ALL, tracked or not, and is told so']],
  ],
  [
    'Rolled back, undone by a savepoint, `SET LOCAL`: what counts is what PostgreSQL has when the transaction is over.',
    [['session-parameters', 'is what it was when a transaction %s']],
  ],
  [
    "Clients without such parameters don't cost that query, nor does a transaction without a SET, but for what a report leaves open: text beyond ASCII; a parameter that isn't tracked and that no SET has led to; a RESET behind a SET of such a parameter, or where `connect_query` has set one that is tracked.",
    [
      ['followed-edges', 'is asked for nothing'],
      ['followed-edges', 'is asked once where %s'],
      ['followed-edges', 'is asked once where a reported text is not ASCII'],
      ['session-parameters', 'is asked for once behind a transaction with a SET, and never behind others'],
    ],
  ],
  [
    'A client that leaves meanwhile, or whose server connection breaks, takes nothing with it: what nobody knows is set or reset for the next one.',
    [
      ['asked-parameters', 'is of use to the next client when the client leaves meanwhile'],
      [
        'asked-parameters',
        'and ends its connection takes the client with it, whose parameters nobody knows now',
      ],
    ],
  ],
  [
    'Where the next client has other values, they are set in one round trip ahead of its first request, in a transaction of READ COMMITTED whatever the last client has made the default, and nothing is sent where they are the same.',
    [
      ['session-parameters', 'costs no question when it is only set for the next client'],
      ['extra-parameters', 'a client is not held up by how the one before it has its transactions begin'],
      ['extra-parameters', 'with the same values, or none, nothing is sent ahead of a client’s own query'],
    ],
  ],
  [
    "What nobody has is what `connect_query` has set, or else PostgreSQL's own.",
    [
      ['connect-query', 'is what clients begin with, and have again behind others'],
      ['session-parameters', 'has the value that its client gave at the start'],
    ],
  ],
  [
    "For parameters of an application's own (`app.tenant`) PostgreSQL doesn't tell a RESET from a SET to the empty text: it counts as RESET if there was one, of whatever, in the same transaction.",
    [
      [
        'followed-edges',
        'an application’s own parameter that is empty has been reset if anything has been in its transaction',
      ],
    ],
  ],
  [
    '`SET x TO DEFAULT` is a RESET that says it is a SET: of a reported parameter it is known by the value, if that is another than before; of others in transaction mode.',
    [
      ['extra-parameters', 'TO DEFAULT goes back to what was given in %s mode, too'],
      ['session-parameters', 'sets it to its default'],
    ],
  ],
  [
    'A SET LOCAL behind a RESET makes PostgreSQL take that for a SET to its own value, and so do we: what the client gave is there again behind its next RESET.',
    [['followed-edges', 'SET LOCAL behind a RESET makes that a SET to PostgreSQL’s own value']],
  ],
  [
    "What PostgreSQL reports because its configuration was read again is nobody's, and follows no client unless the parameter is tracked: then it follows the one that is linked.",
    [
      [
        'reported-parameters',
        'what PostgreSQL’s configuration has changed on a linked server stays with no client',
      ],
      [
        'reported-parameters',
        'what it has changed of a tracked parameter follows the client that is linked then',
      ],
    ],
  ],
  [
    "A query of ours that a late cancel request hits, or a client's `statement_timeout`, is run up to eight times in all; a question that a server doesn't answer is subject to `query_timeout`.",
    [
      [
        'asked-parameters',
        'and has that cancelled, for a client whose request to cancel came late, is asked again',
      ],
      ['asked-parameters', 'and cancels that each time is given up the eighth time'],
      ['asked-parameters', 'and then cancels eight times that it is made the next client’s'],
      ['followed-edges', 'a question that the client’s statement_timeout strikes is asked again'],
      ['asked-parameters', 'and never answers is subject to query_timeout in %s mode'],
    ],
  ],
  [
    'Use the safe forms above, or a pool in session mode for programs that need the others: `pool_mode=session` in the entry of a database or of a user.',
    [
      ['transaction', 'of the database wins over the global one, of the user over both'],
      ['isolation', 'session mode: no session ever finds what another has set'],
    ],
  ],
  [
    'With `server_reset_query_always = 1` the reset query (`DISCARD ALL`) runs after each transaction: nothing of the second list stays but a loaded library.',
    [['transaction-mode', 'with server_reset_query_always nothing of it stays but a loaded library']],
  ],
  [
    'It costs a round trip to PostgreSQL for each transaction.',
    [['followed-edges', 'the reset query costs a round trip for each transaction']],
  ],
];

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');

/** The sentences of its lists and paragraphs. */
function sentences(page: string): string[] {
  return page
    .slice(page.indexOf('## Safe'))
    .split(/\n\n|\n(?=- )/)
    .filter((block) => !block.startsWith('#'))
    .map((block) => block.replace(/^- /, '').replace(/\s+/g, ' ').trim())
    .flatMap((block) => block.split(/(?<=\.) (?=[A-Z`])/));
}

test('each sentence of the page is one that a test shows', () => {
  const page = read('../../docs/transaction-mode.md');
  expect(sentences(page)).toEqual(CLAIMS.map(([sentence]) => sentence));
});

test.each(CLAIMS)('there is a test for: %s', (_sentence, by) => {
  for (const [file, text] of by) expect(read(`./${file}.test.ts`)).toContain(text);
});
