import { delimiter, dirname } from 'node:path';
import { type ProgramRun, runProgram } from './program.ts';

/** What the environment of a user with this Node in the PATH has other than ours, as npm makes it for scripts. */
export function userEnvironment(node: string = process.execPath): Record<string, string | undefined> {
  const ofScripts =
    /^(npm_(package|lifecycle)_.*|npm_config_(local_|global_)?prefix|INIT_CWD|NODE_ENV|NODE_COMPILE_CACHE)$/;
  const names = Object.keys(process.env).filter((name) => ofScripts.test(name));
  return {
    ...Object.fromEntries(names.map((name) => [name, undefined])),
    PATH: `${dirname(node)}${delimiter}${process.env['PATH'] ?? ''}`,
  };
}

/** Runs npm to its end, in a folder. */
export function npm(args: readonly string[], cwd: string): Promise<ProgramRun> {
  return runProgram(args, { command: ['npm'], cwd, env: userEnvironment(), deadlineMs: 120_000 });
}

/** Why npm could not do what it was to do, when that is for want of a registry; null otherwise. */
export function registryTrouble({ code, stderr }: ProgramRun): string | null {
  if (code === 0) return null;
  const [, found] =
    /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED)\b/.exec(
      stderr,
    ) ?? [];
  return found === undefined ? null : `npm reaches no registry (${found})`;
}
