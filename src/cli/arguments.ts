import yargs from 'yargs';

/** What the command line asks for. */
export type Command =
  | { readonly kind: 'run'; readonly configPath: string; readonly quiet: boolean; readonly verbose: number }
  | {
      readonly kind: 'check';
      readonly configPath: string;
      readonly connects: boolean;
      readonly instances: number;
      readonly isJson: boolean;
    }
  | { readonly kind: 'version' }
  | { readonly kind: 'help' }
  /** Bad usage, or an option that is not built; `message` is one line without the program's name. */
  | { readonly kind: 'error'; readonly message: string };

/** Options that PgBouncer has and we do not have yet. Refused: a daemon that ignores them would surprise later. */
const NOT_BUILT = ['daemon', 'user', 'reboot'] as const;

const CHECK = 'check';
const OF_CHECK = ['connect', 'instances', 'json'] as const;

export const USAGE = `Usage: pgweir [OPTION]... CONFIG_FILE
       pgweir check [--connect] [--instances N] [--json] CONFIG_FILE

Pools PostgreSQL connections as PgBouncer does, configured by the same pgbouncer.ini.

  -q, --quiet          write no log to stderr
  -v, --verbose        log more; may be given twice
  -V, --version        show the version and exit
  -h, --help           show this help and exit

check examines a configuration and its files, and says what is wrong, dangerous, or other than with PgBouncer:

  --connect            ask the servers for their limits
  --instances N        so many processes are to run with it; 1 by default
  --json               one JSON object instead of text
                       exit status: 0 sound, 1 warnings, 2 errors

Not supported yet: -d, --daemon; -u, --user=NAME; -R, --reboot.

Refuses to run as root unless the environment variable PGWEIR_ALLOW_ROOT is 1.
`;

/** Reads the command line (without program and script). Never throws and prints nothing. */
export function parseArguments(argv: readonly string[]): Command {
  let failure: string | null = null;
  const parsed = yargs()
    .parserConfiguration({
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
    })
    .detectLocale(false)
    .help(false)
    .version(false)
    .exitProcess(false)
    .option('daemon', { alias: 'd', type: 'boolean' })
    .option('quiet', { alias: 'q', type: 'boolean' })
    .option('verbose', { alias: 'v', type: 'count' })
    .option('user', { alias: 'u', type: 'string', requiresArg: true })
    .option('reboot', { alias: 'R', type: 'boolean' })
    .option('connect', { type: 'boolean' })
    .option('instances', { type: 'string', requiresArg: true })
    .option('json', { type: 'boolean' })
    .option('version', { alias: 'V', type: 'boolean' })
    .option('help', { alias: 'h', type: 'boolean' })
    .strictOptions()
    .fail((message, error) => {
      failure ??= message ?? error?.message ?? 'bad usage';
    })
    .parseSync([...argv]);
  if (failure !== null) return { kind: 'error', message: oneLine(failure) };
  if (parsed.help === true) return { kind: 'help' };
  if (parsed.version === true) return { kind: 'version' };
  for (const option of NOT_BUILT) {
    if (parsed[option] !== undefined && parsed[option] !== false) {
      return { kind: 'error', message: `option --${option} is not supported yet` };
    }
  }
  const [command, checked] = parsed._;
  if (command === CHECK && checked !== undefined) return parseCheck(parsed);
  for (const option of OF_CHECK) {
    if (parsed[option] !== undefined)
      return { kind: 'error', message: `option --${option} belongs to check` };
  }
  const [configPath] = parsed._;
  if (configPath === undefined) return { kind: 'error', message: 'no config file given' };
  if (parsed._.length > 1) return { kind: 'error', message: 'more than one config file given' };
  return {
    kind: 'run',
    configPath: String(configPath),
    quiet: parsed.quiet === true,
    verbose: parsed.verbose,
  };
}

/** `pgweir check`; the same word alone is the name of a file. */
function parseCheck(parsed: {
  readonly _: readonly (string | number)[];
  readonly connect: boolean | undefined;
  readonly instances: string | undefined;
  readonly json: boolean | undefined;
}): Command {
  const [, configPath, more] = parsed._;
  if (more !== undefined) return { kind: 'error', message: 'more than one config file given' };
  const instances = parsed.instances ?? '1';
  if (!/^[1-9][0-9]{0,5}$/.test(instances))
    return { kind: 'error', message: '--instances takes a number from 1 to 999999' };
  return {
    kind: 'check',
    configPath: String(configPath),
    connects: parsed.connect === true,
    instances: Number(instances),
    isJson: parsed.json === true,
  };
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim();
}
