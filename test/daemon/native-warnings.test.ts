import { expect, test } from 'vitest';
import { nativeWarnings } from '../../src/daemon/native-warnings.ts';
import { NATIVE_THEMES } from '../../src/net/native.ts';
import { withoutNative } from '../support/without-native.ts';

test('native calls that are all there are not spoken of', () => {
  expect(nativeWarnings({ missing: new Map() })).toEqual([]);
});

test('withoutNative the library there is one line, for one theme one that says what it costs', () => {
  expect(nativeWarnings(withoutNative)).toEqual([
    'native calls are not available (no library here): nobody logs in by peer, nor as pgbouncer over the unix socket; ' +
      "core dumps are allowed; bytes go through Node's own streams, which is slower",
  ]);
  const lines = NATIVE_THEMES.map((theme) =>
    nativeWarnings({ missing: new Map([[theme, 'no such function']]) }),
  );
  for (const line of lines) {
    expect(line).toHaveLength(1);
    expect(line[0]).toMatch(/^some native calls are not available \(no such function\): \S/);
  }
  expect(new Set(lines.flat()).size).toBe(NATIVE_THEMES.length);
});
