import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readFdLimit } from '../../src/daemon/fd-limit.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pgweir-limits-'));
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

function read(text: string): ReturnType<typeof readFdLimit> {
  writeFileSync(join(dir, 'limits'), text);
  return readFdLimit(join(dir, 'limits'));
}

const header = 'Limit                     Soft Limit           Hard Limit           Units     \n';

describe('the limit on open files', () => {
  it('is read with soft and hard value', () => {
    const text = `${header}Max open files            1024                 524288               files     \n`;
    expect(read(text)).toEqual({ soft: 1024, hard: 524288 });
  });

  it('may be unlimited', () => {
    expect(
      read(`${header}Max open files            unlimited            unlimited            files\n`),
    ).toEqual({
      soft: Number.POSITIVE_INFINITY,
      hard: Number.POSITIVE_INFINITY,
    });
  });

  it('is unknown without the file or the line', () => {
    expect(readFdLimit(join(dir, 'none'))).toBe(null);
    expect(read(header)).toBe(null);
  });
});
