import { execFileSync } from 'node:child_process';
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
  });
});
