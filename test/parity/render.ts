import { contract } from './contract.ts';
import type { Verdict } from './verdict.ts';

const INTRODUCTION = `# Parity with PgBouncer, row by row

Every setting, key, option, signal, command and SHOW of PgBouncer 1.25.2 and of its development branch, and how it is
here: **same**, **better** (and how), **absent** (and why), or **not yet**. [differences.md](differences.md) tells more.

Made by \`npm run parity\` from the settings table, the tables of commands and SHOWs, and what the parsers take; a test
fails when it is stale, or when a row is missing.
`;

/** docs/parity.md. */
export function renderParity(): string {
  const counts = new Map<Verdict, number>();
  const parts = contract.map(({ title, rows }) => {
    const lines = rows.map(({ what, verdict, text }) => {
      counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
      return `| ${escapePipes(what)} | ${verdict} | ${escapePipes(text)} |`;
    });
    return [`## ${title}`, '', '| what | here | |', '| --- | --- | --- |', ...lines, ''].join('\n');
  });
  const order: readonly Verdict[] = ['same', 'better', 'absent', 'not yet'];
  const sum = order
    .filter((verdict) => counts.has(verdict))
    .map((verdict) => `${counts.get(verdict)} ${verdict}`);
  return [INTRODUCTION, `In all: ${sum.join(', ')}.\n`, ...parts].join('\n');
}

function escapePipes(text: string): string {
  return text.replaceAll('|', '\\|');
}
