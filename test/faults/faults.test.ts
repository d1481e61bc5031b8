import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { applyFault } from './fault.ts';
import { faults } from './faults.ts';

const root = resolve(import.meta.dirname, '../..');

describe('a seeded fault', () => {
  it.each(faults.map((fault) => [fault.name, fault] as const))('fits the sources: %s', (_name, fault) => {
    const texts = applyFault(fault, root);
    expect(texts.size).toBeGreaterThan(0);
    expect(fault.tests.filter((file) => !existsSync(join(root, file)))).toEqual([]);
  });

  it('has a name of its own', () => {
    const names = faults.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });

  it('that does not fit is reported', () => {
    const [first] = faults;
    if (first === undefined) throw new Error('there are no faults');
    const [{ file, find }] = first.edits;
    const broken = (edit: { find: string; replace: string }) => () =>
      applyFault({ ...first, edits: [{ file, ...edit }] }, root);
    expect(broken({ find: 'no such text', replace: '' })).toThrow('0 times');
    expect(broken({ find: '\n', replace: '' })).toThrow(/has \d+ times, not once/);
    expect(broken({ find, replace: find })).toThrow('changes nothing');
  });
});
