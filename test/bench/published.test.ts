import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { renderChart } from './chart.ts';
import { cell, resultWith } from './kit.ts';
import { byHand, readmePart, renderPage, renderReadmePart, withReadmePart } from './published.ts';
import type { BenchResult } from './report.ts';

const root = path.resolve(import.meta.dirname, '../..');
const read = (name: string) => readFileSync(path.join(root, name), 'utf8');

function example(): BenchResult {
  return resultWith([
    cell('simple', 50, 'pgbouncer', [{ cpuUsPerTransaction: 20, tps: 1000 }]),
    cell('simple', 50, 'pgweir', [
      { cpuUsPerTransaction: 22, tps: 900 },
      { cpuUsPerTransaction: 24, tps: 1100 },
    ]),
    cell('tpcb', 50, 'pgweir', [], 'it fell over'),
  ]);
}

describe('published speed', () => {
  test('README.md, docs/bench/README.md and the chart say what docs/bench/speed.json does', () => {
    const part = readmePart(read('README.md'));
    if (!existsSync(path.join(root, 'docs/bench/speed.json'))) {
      // Nothing is published: what stands there must not look like it.
      expect(part, 'npm run bench:publish -- RESULT.json').toContain(byHand);
      return;
    }
    const result = JSON.parse(read('docs/bench/speed.json')) as BenchResult;
    expect(result.options.quick, 'a quick run is a look').toBe(false);
    const refused = Object.entries(result.refusals).filter(([, count]) => count !== 0);
    expect(refused, 'a pooler had more connections than it may').toEqual([]);
    expect(part, 'stale: npm run bench:publish').toBe(renderReadmePart(result));
    expect(read('docs/bench/README.md'), 'stale: npm run bench:publish').toBe(renderPage(result));
    expect(read('docs/bench/speed.svg'), 'stale: npm run bench:publish').toBe(renderChart(result));
  });

  test('the part between the marks is replaced, and nothing else', () => {
    const readme = 'a\n<!-- speed:start -->\nold $1\n<!-- speed:end -->\nb\n';
    const written = withReadmePart(readme, 'new $& $1\n');
    expect(written).toBe('a\n<!-- speed:start -->\nnew $& $1\n<!-- speed:end -->\nb\n');
    expect(readmePart(written)).toBe('new $& $1\n');
    expect(() => readmePart('a\nb\n')).toThrow('README.md has no');
  });

  test('README.md gets machine, date, versions and commit, and a row for each bar that was measured', () => {
    const part = renderReadmePart(example());
    expect(part).toContain('on 2026-11-26 on 4 × Made-up <CPU> & Co. with 16 GB');
    expect(part).toContain('pgweir at commit 0123456789ab.');
    expect(part).toContain(
      '| simple, 50 | CPU µs/tx | 20.0 (PgBouncer) | 23.0 | 1.15× | ≤ 1.15× | ≤ 1.00× | bar met |',
    );
    expect(part).toContain('Not measured: extended with 50 (CPU µs/tx)');
    expect(part).toContain(
      'Not measurable on 4 cores: how much more two event loops carry than one (bar: 1.70×)',
    );
  });

  test('a look is called a look', () => {
    const few = resultWith([], { options: { ...example().options, rounds: 2 }, loadBefore: 7 });
    expect(renderReadmePart(few)).toContain('Only a look: 2 rounds;');
    expect(renderReadmePart(few)).toContain('Only a look: load average 7.0');
    expect(renderReadmePart(example())).not.toContain('Only a look');
    const old = resultWith([], { systems: [{ name: 'pgbouncer', version: 'PgBouncer 1.18.0', facts: '' }] });
    expect(renderReadmePart(old)).toContain('Only a look: PgBouncer 1.18.0;');
  });

  test('the page has every load with spread and ratio, what failed and why, and who was not there', () => {
    const page = renderPage(example());
    expect(page).toContain('## simple, 50 clients: simple protocol');
    expect(page).toMatch(/^\| PgBouncer \| 1000 \(±0%\) \| – \|/m);
    expect(page).toMatch(/^\| pgweir \| 1000 \(±10%, 1\.00×\) \|.*\| 23\.0 \(±4%, 1\.15×\) \|/m);
    expect(page).toContain('- pgweir: it fell over');
    expect(page).toContain('- Odyssey did not take part: not in PATH.');
  });
});
