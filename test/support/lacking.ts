import { createRequire } from 'node:module';

type Koffi = typeof import('koffi');
const koffi = createRequire(import.meta.url)('koffi') as Koffi;

/** The library, with functions missing: those whose declaration says `name`, with what is in front of and behind it. */
export function lacking(...names: readonly string[]): Koffi {
  const load: Koffi['load'] = (...args) => {
    const lib = koffi.load(...args);
    const func = (text: string) => {
      if (names.some((name) => text.includes(name))) throw new Error(`no such function: ${text}`);
      return lib.func(text);
    };
    return new Proxy(lib, { get: (of, name) => (name === 'func' ? func : Reflect.get(of, name)) });
  };
  return new Proxy(koffi, { get: (of, name) => (name === 'load' ? load : Reflect.get(of, name)) });
}

/** A library whose function, as it is declared, answers -1 and has set `errno`. */
export function refusing(declared: string, errno: number): Koffi {
  const load: Koffi['load'] = (...args) => {
    const lib = koffi.load(...args);
    const func = (text: string) => (text === declared ? () => -1 : lib.func(text));
    return new Proxy(lib, { get: (of, name) => (name === 'func' ? func : Reflect.get(of, name)) });
  };
  const parts: Readonly<Record<string | symbol, unknown>> = { load, errno: () => errno };
  return new Proxy(koffi, { get: (of, name) => parts[name] ?? Reflect.get(of, name) });
}
