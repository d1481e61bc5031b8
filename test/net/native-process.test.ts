import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { withoutNative } from '../support/without-native.ts';

describe('the calls about the process', () => {
  it('forbid dumps, and say whether they could', () => {
    // In a process of its own: there is no way back that a test should rely on.
    const script = `
      import { openNative } from ${JSON.stringify(new URL('../../src/net/native.ts', import.meta.url).href)};
      console.log(openNative().process.forbidDumps());`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    expect(output).toBe('true\n');
  });

  it('answer no withoutNative the library', () => {
    expect(withoutNative.process.forbidDumps()).toBe(false);
    withoutNative.process.exit(1);
  });

  it('end the process although a thread of it is in a system call', () => {
    const folder = mkdtempSync(join(tmpdir(), 'pgweir-exit-'));
    try {
      // Nobody opens its other end.
      execFileSync('mkfifo', [join(folder, 'fifo')]);
      const script = `
        import { open } from 'node:fs';
        import { openNative } from ${JSON.stringify(new URL('../../src/net/native.ts', import.meta.url).href)};
        open(${JSON.stringify(join(folder, 'fifo'))}, 'r', () => {});
        openNative().process.exit(3);`;
      const { status, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
        timeout: 20_000,
        killSignal: 'SIGKILL',
      });
      expect([status, signal]).toEqual([3, null]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
