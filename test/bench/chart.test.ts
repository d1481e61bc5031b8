import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { renderChart } from './chart.ts';
import { cell, resultWith } from './kit.ts';
import { systemNames } from './systems.ts';
import { workloadNames } from './workloads.ts';

/** Takes XML apart, strictly: names, quoted attributes, escaped text. Throws where it is none. Gives its elements. */
function elements(xml: string): { name: string; attributes: Map<string, string> }[] {
  const found: { name: string; attributes: Map<string, string> }[] = [];
  const open: string[] = [];
  const token = /<(\/?)([a-z]+)((?: [a-zA-Z:-]+="[^"<&]*(?:&(?:amp|lt|gt|quot);[^"<&]*)*")*)(\/?)>|([^<]+)/y;
  while (token.lastIndex < xml.length) {
    const at = token.lastIndex;
    const match = token.exec(xml);
    if (match === null) throw new Error(`no XML at ${at}: ${xml.slice(at, at + 60)}`);
    const [, closing, name = '', written = '', single, text] = match;
    if (text !== undefined) {
      if (/&(?!(?:amp|lt|gt|quot);)/.test(text)) throw new Error(`a bare & in ${text}`);
      if (open.length === 0 && text.trim() !== '') throw new Error(`text outside: ${text}`);
    } else if (closing === '/') {
      if (open.pop() !== name) throw new Error(`</${name}> closes something else`);
    } else {
      const attributes = new Map(
        [...written.matchAll(/ ([a-zA-Z:-]+)="([^"]*)"/g)].map(([, key = '', value = '']) => [key, value]),
      );
      found.push({ name, attributes });
      if (single !== '/') open.push(name);
    }
  }
  if (open.length > 0) throw new Error(`not closed: ${open.join(', ')}`);
  return found;
}

/** Widths of the bars of a system, the mark in the legend left out. */
function barWidths(svg: string, system: string): number[] {
  return elements(svg)
    .filter(({ name, attributes }) => name === 'rect' && attributes.get('class') === system)
    .slice(1)
    .map(({ attributes }) => Number(attributes.get('width')));
}

describe('the chart', () => {
  test('the check for XML finds what is none', () => {
    for (const bad of ['<a><b></a></b>', '<a', '<a>&</a>', '<a x=1/>', '<a/>b', '<a>'])
      expect(() => elements(bad)).toThrow();
    expect(elements('<a x="&lt;1"><b/>c</a>')).toHaveLength(2);
  });

  test('bars of one panel are proportional to their figures', () => {
    const svg = renderChart(
      resultWith([
        cell('simple', 50, 'pgbouncer', [{ cpuUsPerTransaction: 20 }]),
        cell('simple', 50, 'pgweir', [{ cpuUsPerTransaction: 10 }]),
        cell('prepared', 50, 'pgweir', [{ cpuUsPerTransaction: 5 }]),
      ]),
    );
    const [theirs = 0] = barWidths(svg, 'pgbouncer');
    const [first = 0, second = 0] = barWidths(svg, 'pgweir');
    expect(theirs).toBeGreaterThan(100);
    expect(first / theirs).toBeCloseTo(0.5, 3);
    expect(second / theirs).toBeCloseTo(0.25, 3);
  });

  test("PgBouncer's bar comes first, whatever the order of the cells", () => {
    const svg = renderChart(
      resultWith([
        cell('simple', 50, 'direct', [{ tps: 3 }]),
        cell('simple', 50, 'pgweir', [{ tps: 2 }]),
        cell('simple', 50, 'pgbouncer', [{ tps: 1 }]),
      ]),
    );
    const kinds = elements(svg)
      .map(({ attributes }) => attributes.get('class') ?? '')
      .filter((kind) => (systemNames as readonly string[]).includes(kind));
    // The legend, then the bars.
    expect(kinds).toEqual(['pgbouncer', 'pgweir', 'direct', 'pgbouncer', 'pgweir', 'direct']);
  });

  test('it says where, when and of what, and has colours for dark readers', () => {
    const svg = renderChart(resultWith([cell('simple', 50, 'pgweir', [{ tps: 2 }])]));
    expect(svg).toContain('Made-up &lt;CPU&gt; &amp; Co.');
    expect(svg).toContain('2026-11-26');
    expect(svg).toContain('PgBouncer 1.24.1');
    expect(svg).toContain('prefers-color-scheme: dark');
  });

  test('whatever was measured: it is XML without NaN, and nothing sticks out', () => {
    const figure = fc.option(fc.double({ min: 0, max: 1e12, noNaN: true }), { nil: null });
    const sample = fc.record({
      tps: figure,
      p99Us: figure,
      cpuUsPerTransaction: figure,
      bytesPerSecond: figure,
      bytesPerCpuSecond: figure,
      bytesPerClient: figure,
    });
    const cells = fc.array(
      fc
        .tuple(
          fc.constantFrom(...workloadNames),
          fc.constantFrom(1, 50, 900, 10_000),
          fc.constantFrom(...systemNames),
          fc.array(sample, { maxLength: 3 }),
        )
        .map(([workload, clients, system, samples]) => cell(workload, clients, system, samples)),
      { maxLength: 40 },
    );
    fc.assert(
      fc.property(cells, (drawn) => {
        const svg = renderChart(resultWith(drawn));
        expect(svg).not.toMatch(/NaN|Infinity|undefined|null/);
        const [root, ...others] = elements(svg);
        const width = Number(root?.attributes.get('width'));
        const height = Number(root?.attributes.get('height'));
        for (const { attributes } of others) {
          const right = Number(attributes.get('x') ?? 0) + Number(attributes.get('width') ?? 0);
          expect(right).toBeLessThanOrEqual(width);
          expect(Number(attributes.get('y') ?? 0)).toBeLessThanOrEqual(height);
          expect(Number(attributes.get('width') ?? 0)).toBeGreaterThanOrEqual(0);
        }
      }),
      { numRuns: 50 },
    );
  });
});
