import { settingRow } from '../config/settings-table.ts';
import { Token } from '../prepared/sql-scan.ts';
import { driverSettings } from './driver-settings.ts';
import type { SqlStatement } from './sql-text.ts';

/**
 * What statements of a driver's own do to the console's session: its transaction, which holds nothing together, and
 * its prepared statements.
 */
export type SessionEffect =
  | { readonly kind: 'begin'; readonly tag: 'BEGIN' | 'START TRANSACTION' }
  | { readonly kind: 'commit' | 'rollback' }
  | { readonly kind: 'savepoint' | 'release' | 'rollbackTo'; readonly name: string }
  /** `name` null: all of them. */
  | { readonly kind: 'deallocate'; readonly name: string | null }
  | { readonly kind: 'discardAll' }
  | { readonly kind: 'nothing'; readonly tag: string; readonly notice: string | null };

/** Words that may follow in BEGIN and SET TRANSACTION. */
const MODES =
  /^(?:(?:isolation level (?:serializable|repeatable read|read committed|read uncommitted)|read only|read write|(?:not )?deferrable)(?: , | |$))*$/;

const NOTHING: SessionEffect = { kind: 'nothing', tag: 'SET', notice: 'SET ignored' };

/** Reads such a statement; null for any other. Source: the manual's pages of these commands. */
export function readDriverStatement({ tokens }: SqlStatement): SessionEffect | null {
  const [first] = tokens;
  if (first?.type !== Token.Word) return null;
  // Nothing but words, commas and names counts here; a string or number stands as what it is.
  const words = tokens.map(({ text }) => text);
  const rest = words.slice(1);
  switch (first.text) {
    case 'begin':
      return isMode(without(rest, 'work', 'transaction')) ? { kind: 'begin', tag: 'BEGIN' } : null;
    case 'start':
      if (rest[0] !== 'transaction' || !isMode(rest.slice(1))) return null;
      return { kind: 'begin', tag: 'START TRANSACTION' };
    case 'commit':
    case 'end':
      return without(rest, 'work', 'transaction').length === 0 ? { kind: 'commit' } : null;
    case 'rollback':
    case 'abort':
      return readRollback(without(rest, 'work', 'transaction'));
    case 'savepoint':
      return onSavepoint('savepoint', rest);
    case 'release':
      return onSavepoint('release', without(rest, 'savepoint'));
    case 'deallocate':
      return readDeallocate(tokens.slice(rest[0] === 'prepare' ? 2 : 1));
    case 'discard':
      return rest.length === 1 && rest[0] === 'all' ? { kind: 'discardAll' } : null;
    case 'close':
      return rest.length === 1 && rest[0] === 'all' ? quietly('CLOSE CURSOR ALL') : null;
    case 'unlisten':
      return rest.length === 1 && rest[0] === '*' ? quietly('UNLISTEN') : null;
    case 'reset':
      return rest.length === 1 && (rest[0] === 'all' || isDriverSetting(rest[0])) ? quietly('RESET') : null;
    case 'set':
      return readSet(rest);
    default:
      return null;
  }
}

/** The statements that end a failed transaction, and so are all that is run in one. */
export function endsFailedTransaction(effect: SessionEffect): boolean {
  return effect.kind === 'commit' || effect.kind === 'rollback' || effect.kind === 'rollbackTo';
}

/** The statements that PostgreSQL ends its work with at once, also amid a pipeline. */
export function standsAlone({ kind }: SessionEffect): boolean {
  return kind !== 'deallocate' && kind !== 'nothing';
}

function quietly(tag: string): SessionEffect {
  return { kind: 'nothing', tag, notice: null };
}

function readRollback(words: readonly string[]): SessionEffect | null {
  if (words.length === 0) return { kind: 'rollback' };
  return words[0] === 'to' ? onSavepoint('rollbackTo', without(words.slice(1), 'savepoint')) : null;
}

function onSavepoint(
  kind: 'savepoint' | 'release' | 'rollbackTo',
  words: readonly string[],
): SessionEffect | null {
  const [name] = words;
  return name !== undefined && words.length === 1 ? { kind, name } : null;
}

function readDeallocate(tokens: SqlStatement['tokens']): SessionEffect | null {
  const [name] = tokens;
  if (tokens.length !== 1 || name === undefined) return null;
  if (name.type === Token.Word && name.text === 'all') return { kind: 'deallocate', name: null };
  if (name.type !== Token.Word && name.type !== Token.QuotedName) return null;
  return { kind: 'deallocate', name: name.text };
}

/** SET of what PostgreSQL has and we have not: nothing follows from it here. */
function readSet(words: readonly string[]): SessionEffect | null {
  if (words[0] === 'session' && words[1] === 'characteristics') {
    return words[2] === 'as' && words[3] === 'transaction' && isMode(words.slice(4)) ? NOTHING : null;
  }
  const named = without(words, 'session', 'local');
  if (named[0] === 'transaction') return isMode(named.slice(1)) ? NOTHING : null;
  if (named[0] === 'names') return named.length === 2 ? NOTHING : null;
  if (named[0] === 'time' && named[1] === 'zone') return named.length > 2 ? NOTHING : null;
  const isAssignment = named[1] === '=' || named[1] === 'to';
  return isDriverSetting(named[0]) && isAssignment && named.length > 2 ? NOTHING : null;
}

/** A setting of ours is ours, whatever PostgreSQL has of that name. */
function isDriverSetting(name: string | undefined): boolean {
  return (
    name !== undefined && driverSettings.has(name.toLowerCase()) && settingRow(name.toLowerCase()) === null
  );
}

function isMode(words: readonly string[]): boolean {
  return MODES.test(words.join(' '));
}

/** The words without their first, if that is one of these. */
function without(words: readonly string[], ...optional: readonly string[]): readonly string[] {
  return words[0] !== undefined && optional.includes(words[0]) ? words.slice(1) : words;
}
