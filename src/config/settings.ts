import type { SettingRow, SettingValue } from './setting-rows.ts';
import { ownSettingsTable, settingRow, settingsTable } from './settings-table.ts';
import { isParameterName } from '../wire/sql-quote.ts';
import { type ParsedValue, parseInteger, parseSetting } from './setting-values.ts';

type ValuesOf<T> = { readonly [K in keyof T]: SettingValue<T[K]> };

/** The values of `[pgbouncer]`, by their name in the file. Units: times are seconds, fractions included. */
export type Settings = ValuesOf<typeof settingsTable>;

/** The values of `[pgweir]`. Units: times are seconds, fractions included. */
export type OwnSettings = ValuesOf<typeof ownSettingsTable>;

/**
 * The text of every setting that has one, as the file spells it or as the table's default; ours and
 * PgBouncer's together. What is typed in {@link Settings} is read from it, and `SHOW CONFIG` prints it.
 */
export type SettingTexts = ReadonlyMap<string, string>;

/** The defaults of both tables. */
export function defaultTexts(): Map<string, string> {
  const texts = new Map<string, string>();
  for (const table of [settingsTable, ownSettingsTable]) {
    for (const [name, row] of Object.entries<SettingRow>(table)) {
      if (row.default !== null) texts.set(name, row.default);
    }
  }
  return texts;
}

/** More threads than this are not to be had. */
export const MAX_WORKERS = 64;

/** How many threads `workers` asks for; 0: one per core. Null: not a count. */
export function workerCount(text: string): number | null {
  if (text.toLowerCase() === 'auto') return 0;
  const count = parseInteger(text);
  return count !== null && count >= 1 && count <= MAX_WORKERS ? count : null;
}

/**
 * Reads one setting's text, with the checks that its row cannot express. Never throws.
 * Source: PgBouncer refuses its console as `auth_dbname` while loading.
 */
export function checkSetting(name: string, row: SettingRow, text: string): ParsedValue {
  if (name === 'auth_dbname' && text === 'pgbouncer') {
    return { ok: false, expected: 'a database other than pgbouncer, which is reserved for the console' };
  }
  if (name === 'auth_type' && text.toLowerCase() === 'pam') {
    // See docs/decisions/0010-auth.md.
    return { ok: false, expected: 'another method than pam, for which Node has no maintained library' };
  }
  if (name === 'workers' && workerCount(text) === null) {
    return { ok: false, expected: `an integer from 1 to ${MAX_WORKERS}, or auto` };
  }
  const parsed = parseSetting(row, text);
  // A name that cannot stand in SET would break every link.
  if (
    name === 'track_extra_parameters' &&
    parsed.ok &&
    !(parsed.value as readonly string[]).every(isParameterName)
  ) {
    return { ok: false, expected: 'names of server parameters, separated by commas' };
  }
  return parsed;
}

/** Turns texts that {@link checkSetting} has taken into typed values. */
export function typedSettings(texts: SettingTexts): { settings: Settings; own: OwnSettings } {
  return {
    settings: readTable(settingsTable, texts) as Settings,
    own: readTable(ownSettingsTable, texts) as OwnSettings,
  };
}

// The mapped type says what each row's parser returns; the compiler cannot follow that through a loop.
function readTable(
  table: Readonly<Record<string, SettingRow>>,
  texts: SettingTexts,
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, row] of Object.entries(table)) {
    const text = texts.get(name);
    const parsed = text === undefined ? null : parseSetting(row, text);
    values[name] = parsed?.ok === true ? parsed.value : null;
  }
  return values;
}

/**
 * Whether a setting was asked for something that does not happen yet, so that the operator has to be told.
 * A value that says what happens today anyway needs no telling.
 */
export function isWithoutEffect(name: string, text: string): boolean {
  const row = settingRow(name);
  if (row === null || row.effect === 'yes' || row.inert === null) return false;
  const parsed = parseSetting(row, text);
  const inert = parseSetting(row, row.inert);
  return !(parsed.ok && inert.ok && parsed.value === inert.value);
}
