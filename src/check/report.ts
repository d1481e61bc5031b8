import type { ServerCapacity } from './capacity.ts';
import { exitStatus, type Finding, type Level } from './finding.ts';
import type { Verdict } from './verdicts.ts';

/** All that `pgweir check` has to say. */
export interface Report {
  readonly file: string;
  readonly instances: number;
  readonly findings: readonly Finding[];
  readonly verdicts: readonly Verdict[];
  readonly capacities: readonly ServerCapacity[];
}

const LEVELS: readonly Level[] = ['error', 'warning', 'note'];

/** For people: findings by weight, then the settings by verdict. */
export function reportText(report: Report): string {
  const { file, findings, verdicts } = report;
  const lines: string[] = [];
  for (const level of LEVELS) {
    for (const { level: its, at, subject, message } of findings) {
      if (its !== level) continue;
      const place = at === null ? '' : `${at.file}${at.line > 0 ? `:${at.line}` : ''}: `;
      const about = subject === '' || message.startsWith(subject) ? '' : `${subject}: `;
      lines.push(`${level.toUpperCase().padEnd(7)} ${place}${about}${message}`);
    }
  }
  if (lines.length > 0) lines.push('');
  lines.push(...settingLines(verdicts));
  const count = (level: Level) => findings.filter((each) => each.level === level).length;
  const [errors, warnings] = [count('error'), count('warning')];
  lines.push(`${file}: ${plural(errors, 'error')}, ${plural(warnings, 'warning')}`);
  return `${lines.join('\n')}\n`;
}

function settingLines(verdicts: readonly Verdict[]): string[] {
  if (verdicts.length === 0) return [];
  const lines = ['Settings, compared with PgBouncer:'];
  const of = (verdict: Verdict['verdict']) => verdicts.filter((each) => each.verdict === verdict);
  const same = of('same').map(({ setting }) => setting);
  if (same.length > 0) lines.push(`  same           ${same.join(', ')}`);
  for (const verdict of ['different', 'not supported', 'own'] as const) {
    for (const { setting, text } of of(verdict)) {
      lines.push(`  ${verdict.padEnd(14)} ${setting}${text === null ? '' : `: ${text}`}`);
    }
  }
  return [...lines, ''];
}

function plural(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

/**
 * For programs: one JSON object, `{ file, status, instances, findings, settings, servers }`. A number of connections
 * without a bound is null.
 */
export function reportJson(report: Report): string {
  const { file, instances, findings, verdicts, capacities } = report;
  const bounded = (n: number) => (n === Number.POSITIVE_INFINITY ? null : n);
  const body = {
    file,
    status: exitStatus(findings),
    instances,
    findings: findings.map(({ at, ...rest }) => ({
      ...rest,
      file: at?.file ?? null,
      line: at?.line ?? null,
    })),
    settings: verdicts.map(({ setting, verdict, text, at }) => ({
      setting,
      verdict,
      text,
      file: at.file,
      line: at.line,
    })),
    servers: capacities.map(({ server, connections, entries, byUser }) => ({
      server,
      connections: bounded(connections),
      entries: entries.map((entry) => ({ ...entry, connections: bounded(entry.connections) })),
      users: Object.fromEntries([...byUser].map(([user, connections]) => [user, bounded(connections)])),
    })),
  };
  return `${JSON.stringify(body, null, 2)}\n`;
}
