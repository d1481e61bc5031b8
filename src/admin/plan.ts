import { SqlState } from '../wire/pg-error.ts';
import type { Cell, Column } from '../wire/result.ts';
import { ADMIN_DATABASE, mayRun } from './access.ts';
import {
  accessNeeded,
  type CommandContext,
  commands,
  failed,
  helpText,
  type Outcome,
  runSet,
  unknown,
} from './commands.ts';
import { answerSelect } from './driver-select.ts';
import { readDriverStatement, type SessionEffect } from './driver-statements.ts';
import { parseStatement, type Statement } from './parse.ts';
import { driverShow, showTables } from './show.ts';
import { splitStatements, type SqlStatement } from './sql-text.ts';
import type { Show } from './table.ts';

/** A statement that has been understood, and that its sender may run: what it answers, and how it is run. */
export interface Plan {
  /** Of its rows; null when it has none. */
  readonly columns: readonly Column[] | null;
  /** How many `$n` it has; their values mean nothing. */
  readonly parameters: number;
  /** The pooler is the same afterwards: several such statements may stand in one Query. */
  readonly isHarmless: boolean;
  readonly work: SessionEffect | ((context: CommandContext) => Promise<Outcome>);
}

/** What a text means: its statements in order, none for an empty text; or why it is not run. */
export type Reading =
  | { readonly ok: true; readonly plans: readonly Plan[] }
  | { readonly ok: false; readonly outcome: Outcome };

/** More than drivers put together. */
const MAX_STATEMENTS = 20;

const refused: Reading = Object.freeze({ ok: false, outcome: unknown });

/**
 * Reads a text of the console: one statement of its grammar, or of what drivers send of their own; several, if the
 * pooler stays as it is. The one gate: what comes out as a plan may be run by a user of `context.role`.
 */
export function readText(text: string, context: CommandContext): Reading {
  const statements = splitStatements(text);
  // It is no SQL, so no driver's either; the console's own grammar has the last word.
  if (statements === null) return readCommand(parseStatement(text), context);
  // A few bytes must not ask for all the work.
  if (statements.length > MAX_STATEMENTS) {
    const text = `too many statements in one query (limit ${MAX_STATEMENTS})`;
    return { ok: false, outcome: failed(text, SqlState.configurationLimitExceeded) };
  }
  const plans: Plan[] = [];
  for (const statement of statements) {
    const reading = readOne(statement, context);
    if (!reading.ok) return reading;
    plans.push(...reading.plans);
  }
  return plans.length <= 1 || plans.every(({ isHarmless }) => isHarmless) ? { ok: true, plans } : refused;
}

function readOne(statement: SqlStatement, context: CommandContext): Reading {
  const effect = readDriverStatement(statement);
  if (effect !== null) return allow('driver', context, { ...QUIET, work: effect });
  const { user, version } = context;
  const facts = { user, database: ADMIN_DATABASE, version: `PostgreSQL 1.25.2/bouncer, ${version}` };
  const answer = answerSelect(statement, facts);
  if (answer !== null) {
    const { columns, rows, parameters } = answer;
    const tag = `SELECT ${rows.length}`;
    return allow('driver', context, {
      columns,
      parameters,
      isHarmless: true,
      work: async () => ({ kind: 'rows', columns, rows, tag }),
    });
  }
  const words = statement.tokens.map(({ text }) => text).join(' ');
  const fixed = FIXED_SHOWS.get(words);
  if (fixed !== undefined) return allow('driver', context, showPlan(fixed));
  return readCommand(parseStatement(statement.source), context);
}

/** SHOWs of drivers that are no single word. */
const FIXED_SHOWS: ReadonlyMap<string, Show> = new Map([
  ['show transaction isolation level', fixedShow('transaction_isolation')],
  ['show time zone', fixedShow('timezone')],
]);

function fixedShow(name: string): Show {
  return driverShow(name) as Show;
}

function readCommand(statement: Statement, context: CommandContext): Reading {
  switch (statement.kind) {
    case 'empty':
      return { ok: true, plans: [] };
    case 'invalid':
      return refused;
    case 'tooLong':
      return { ok: false, outcome: failed('bad arguments') };
    case 'set': {
      const { key, value } = statement;
      return allow('set', context, { ...COMMAND, work: (running) => runSet(running, key, value) });
    }
    case 'command': {
      const { word, arg } = statement;
      // Some clients can only send SELECT.
      if (word === 'show' || word === 'select') return readShow(arg?.toLowerCase() ?? '', context);
      const command = commands.get(word);
      if (command === undefined) return refused;
      return allow(word, context, { ...COMMAND, work: (running) => command.run(running, arg) });
    }
  }
}

function readShow(name: string, context: CommandContext): Reading {
  if (name === 'help') {
    return allow('show help', context, { ...QUIET, work: async () => ({ kind: 'help', text: helpText }) });
  }
  const table = showTables.get(name);
  if (table !== undefined) return allow(`show ${name}`, context, showPlan(table));
  const fixed = driverShow(name);
  return fixed === null ? refused : allow('driver', context, showPlan(fixed));
}

const QUIET = { columns: null, parameters: 0, isHarmless: true } as const;
const COMMAND = { ...QUIET, isHarmless: false } as const;

function showPlan({ columns, rows }: Show): Plan {
  return {
    columns,
    parameters: 0,
    isHarmless: true,
    work: async (context) => {
      const cells: Cell[][] = await rows(context);
      return { kind: 'rows', columns, rows: cells, tag: 'SHOW' };
    },
  };
}

/** `command` is a key of the table of authorization. */
function allow(command: string, context: CommandContext, plan: Plan): Reading {
  return mayRun(context.role, command) ? { ok: true, plans: [plan] } : { ok: false, outcome: accessNeeded };
}
