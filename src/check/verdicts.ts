import type { IniStatement } from '../config/ini-lines.ts';
import { isWithoutEffect } from '../config/settings.ts';
import { settingDifference } from '../config/setting-differences.ts';
import { ownSettingsTable, settingRow } from '../config/settings-table.ts';
import type { SourcePosition } from '../config/config-error.ts';

/** How a setting that the files give compares with PgBouncer. */
export interface Verdict {
  readonly setting: string;
  readonly at: SourcePosition;
  /** `own`: PgBouncer has no such setting. */
  readonly verdict: 'same' | 'different' | 'not supported' | 'own';
  /** How it differs, or why it is not supported. */
  readonly text: string | null;
}

/** One verdict for each setting given, in the order of the files; the last one counts where it is given twice. */
export function verdictsOf(statements: readonly IniStatement[]): Verdict[] {
  const verdicts = new Map<string, Verdict>();
  for (const statement of statements) {
    if (statement.kind === 'section') continue;
    const { key, value, at, section, kind } = statement;
    if (kind !== 'own' && section !== 'pgbouncer' && section !== 'pgweir') continue;
    verdicts.delete(key);
    verdicts.set(key, { setting: key, at, ...compared(key, value) });
  }
  return [...verdicts.values()];
}

function compared(name: string, value: string): Pick<Verdict, 'verdict' | 'text'> {
  const difference = settingDifference(name);
  const row = settingRow(name);
  if (row?.effect === 'not yet') {
    if (!isWithoutEffect(name, value)) return { verdict: 'same', text: null };
    return { verdict: 'not supported', text: difference ?? 'accepted, without effect' };
  }
  if (Object.hasOwn(ownSettingsTable, name)) return { verdict: 'own', text: null };
  return difference === null ? { verdict: 'same', text: null } : { verdict: 'different', text: difference };
}
