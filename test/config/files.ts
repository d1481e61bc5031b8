import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/config.ts';
import { ConfigError } from '../../src/config/config-error.ts';

/** A reader over files that exist only in the test; any other path is missing. */
export function memoryFiles(files: Readonly<Record<string, string | Buffer>>): (path: string) => Buffer {
  return (path) => {
    const content = Object.hasOwn(files, path) ? files[path] : undefined;
    if (content === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
    return Buffer.from(content);
  };
}

/** Loads a text as the file `my.ini`. */
export function load(text: string, previous: Config | null = null): Config {
  return loadConfig('my.ini', previous, memoryFiles({ 'my.ini': text }));
}

/** Runs something that must end in a ConfigError, and gives that error. */
export function configErrorOf(run: () => unknown): ConfigError {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('no ConfigError was thrown');
}
