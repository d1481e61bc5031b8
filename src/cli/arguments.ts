import yargs from 'yargs';

/** What the command line asks for. */
export type Command =
  | ({ readonly kind: 'run' } & RunCommand)
  | {
      readonly kind: 'check';
      readonly configPath: string;
      readonly connects: boolean;
      readonly instances: number;
      readonly isJson: boolean;
    }
  | { readonly kind: 'ping'; readonly configPath: string }
  | { readonly kind: 'version' }
  | { readonly kind: 'help' }
  /** Bad usage, or an option that is not built; `message` is one line without the program's name. */
  | { readonly kind: 'error'; readonly message: string };

/** How the daemon is to run. */
export interface RunCommand {
  readonly configPath: string;
  /** `-d`. */
  readonly daemon: boolean;
  readonly quiet: boolean;
  readonly verbose: number;
  /** `-u`; null when it was not given. */
  readonly user: string | null;
  /** `-R`. */
  readonly reboot: boolean;
}

const CHECK = 'check';
const PING = 'ping';
const OF_DAEMON = ['daemon', 'user', 'reboot'] as const;
const OF_CHECK = ['connect', 'instances', 'json'] as const;

export const USAGE = `Usage: pgweir [OPTION]... CONFIG_FILE
       pgweir check [--connect] [--instances N] [--json] CONFIG_FILE
       pgweir ping CONFIG_FILE

Pools PostgreSQL connections as PgBouncer does, configured by the same pgbouncer.ini.

  -d, --daemon         run in the background; needs the setting pidfile
  -q, --quiet          write no log to stderr
  -v, --verbose        log more; may be given twice
  -u, --user=NAME      run as this system user, when started as root
  -R, --reboot         take over from the running process, which serves its clients until they leave
  -V, --version        show the version and exit
  -h, --help           show this help and exit

check examines a configuration and its files, and says what is wrong, dangerous, or other than with PgBouncer:

  --connect            ask the servers for their limits
  --instances N        so many processes are to run with it; 1 by default
  --json               one JSON object instead of text
                       exit status: 0 sound, 1 warnings, 2 errors

ping asks the pooler that runs with a configuration how it is, as the same system user, over its unix socket:

                       exit status: 0 it answers, 1 it does not

Refuses to run as root, unless -u or the setting user names another user, or the environment variable
PGWEIR_ALLOW_ROOT is 1.
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
  const [command, file] = parsed._;
  const isCommand = (command === CHECK || command === PING) && file !== undefined;
  if (isCommand) {
    const other = OF_DAEMON.find((option) => parsed[option] !== undefined && parsed[option] !== false);
    if (other !== undefined)
      return { kind: 'error', message: `option --${other} does not belong to ${command}` };
    if (parsed._.length > 2) return { kind: 'error', message: 'more than one config file given' };
    if (command === CHECK) return parseCheck(String(file), parsed);
  }
  for (const option of OF_CHECK) {
    if (parsed[option] !== undefined)
      return { kind: 'error', message: `option --${option} belongs to check` };
  }
  if (isCommand) return { kind: 'ping', configPath: String(file) };
  const [configPath] = parsed._;
  if (configPath === undefined) return { kind: 'error', message: 'no config file given' };
  if (parsed._.length > 1) return { kind: 'error', message: 'more than one config file given' };
  return {
    kind: 'run',
    configPath: String(configPath),
    daemon: parsed.daemon === true,
    quiet: parsed.quiet === true,
    verbose: parsed.verbose,
    user: parsed.user ?? null,
    reboot: parsed.reboot === true,
  };
}

/** `pgweir check`; the same word alone is the name of a file, as with `ping`. */
function parseCheck(
  configPath: string,
  parsed: {
    readonly connect: boolean | undefined;
    readonly instances: string | undefined;
    readonly json: boolean | undefined;
  },
): Command {
  const instances = parsed.instances ?? '1';
  if (!/^[1-9][0-9]{0,5}$/.test(instances))
    return { kind: 'error', message: '--instances takes a number from 1 to 999999' };
  return {
    kind: 'check',
    configPath,
    connects: parsed.connect === true,
    instances: Number(instances),
    isJson: parsed.json === true,
  };
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim();
}
