import { readSetUp } from '../check/read.ts';
import { askState } from '../daemon/console.ts';

/**
 * `pgweir ping`, for health checks: asks the pooler that runs with this configuration how it is, and prints that.
 * Resolves with the exit code: 0 when it answers, 1 with one line of why not. Lines of the file that are wrong do not
 * count: the pooler has not taken them either.
 */
export async function ping(
  configPath: string,
  stdout: (text: string) => void,
  stderr: (text: string) => void,
): Promise<number> {
  const { config, errors } = readSetUp(configPath);
  try {
    if (config === null) throw errors.at(-1) ?? new Error(`${configPath} cannot be read`);
    stdout(`${await askState(config.settings)}\n`);
    return 0;
  } catch (error) {
    stderr(`pgweir: ${(error as Error).message}\n`);
    return 1;
  }
}
