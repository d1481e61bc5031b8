import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

/** Has a call of the file system fail after it has done its work (`closeSync`) or without doing any, until disposed of. */
export function failingCall(name: 'closeSync' | 'unlinkSync', code: string): Disposable {
  const real = fs[name];
  const put = (call: (...args: never[]) => void): void => {
    Object.assign(fs, { [name]: call });
    syncBuiltinESMExports();
  };
  put((...args) => {
    if (name === 'closeSync') (real as (...args: unknown[]) => void)(...args);
    throw Object.assign(new Error(`${code}: ${name}`), { code });
  });
  return { [Symbol.dispose]: () => put(real as (...args: never[]) => void) };
}
