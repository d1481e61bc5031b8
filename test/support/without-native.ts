import { openNative } from '../../src/net/native.ts';

/** Native calls as they are on a machine that has no library for them. */
export const withoutNative = openNative(() => {
  throw new Error('no library here');
});
