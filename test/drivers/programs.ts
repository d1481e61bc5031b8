import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** A driver from Debian's packages or on top of them, and the program that uses it. */
export interface DebianDriver {
  /** As in README's table; its tests are in `<name>.test.ts`. */
  readonly name: string;
  readonly language: string;
  /** What to install. */
  readonly packages: readonly string[];
  /** What to run then, where packages do not have all of it. */
  readonly install?: string;
  /** Prints the version that is installed; fails, with the reason as its last line, where there is none. */
  readonly probe: readonly string[];
  /** Compiles the program into a folder. */
  readonly build?: (folder: string) => readonly string[];
  /** Starts the program, which `build` may have put into the folder. */
  readonly command: (folder: string) => readonly string[];
  /** Whether one process has all connections, in threads, or each has a process of its own. */
  readonly processes: 'one' | 'each';
}

const here = (...path: string[]) => join(import.meta.dirname, ...path);
// The first python3 in the PATH need not be Debian's, which alone has Debian's modules.
const PYTHON = '/usr/bin/python3';
// Programs do not live long enough for a better compiler.
const JVM = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Dfile.encoding=UTF-8'];
const JARS = '/usr/share/java/postgresql.jar:/usr/share/java/gson.jar';

/** What runs on other modules needs these, too. */
function python(name: string, packages: readonly string[], modules: readonly string[] = []): DebianDriver {
  const imports = [name, ...modules].join(', ');
  return {
    name,
    language: 'Python',
    packages,
    probe: [PYTHON, '-c', `import ${imports}; print(${name}.__version__.split()[0])`],
    command: () => [PYTHON, '-B', here('python', `use_${name}.py`)],
    processes: 'one',
  };
}

/** What is printed when all these files are there: the version of a package. */
function versionOfPackage(name: string, ...files: readonly string[]): readonly string[] {
  const missing = files
    .map((file) => `{ command -v ${file} || ls -d ${file}; } >/dev/null || exit 1`)
    .join('; ');
  return ['sh', '-c', `${missing}; dpkg-query -W -f '\${Version}' ${name}`];
}

function php(name: string): DebianDriver {
  const extension = name === 'php-pdo' ? 'pdo_pgsql' : 'pgsql';
  return {
    name,
    language: 'PHP',
    packages: ['php-cli', 'php-pgsql'],
    probe: ['php', '-r', `extension_loaded('${extension}') || exit(1); echo PHP_VERSION;`],
    command: () => ['php', here('php', `use_${extension}.php`)],
    processes: 'each',
  };
}

/** All of them; `.ci/run` installs their packages. */
export const debianDrivers = {
  asyncpg: python('asyncpg', ['python3-asyncpg']),
  psycopg: python('psycopg', ['python3-psycopg']),
  psycopg2: python('psycopg2', ['python3-psycopg2']),
  sqlalchemy: python(
    'sqlalchemy',
    ['python3-sqlalchemy', 'python3-psycopg2', 'python3-asyncpg'],
    ['psycopg2', 'asyncpg'],
  ),
  pgjdbc: {
    name: 'pgjdbc',
    language: 'Java',
    packages: ['libpostgresql-jdbc-java', 'libgoogle-gson-java', 'default-jdk-headless'],
    probe: versionOfPackage('libpostgresql-jdbc-java', 'javac', ...JARS.split(':')),
    build: (folder) => [
      'javac',
      ...JVM.map((option) => `-J${option}`),
      '-proc:none',
      '-encoding',
      'UTF-8',
      '-cp',
      JARS,
      '-d',
      folder,
      here('java', 'UsePgjdbc.java'),
    ],
    command: (folder) => ['java', ...JVM, '-cp', `${folder}:${JARS}`, 'UsePgjdbc'],
    processes: 'one',
  },
  'lib-pq': {
    name: 'lib-pq',
    language: 'Go',
    packages: ['golang-go', 'golang-github-lib-pq-dev'],
    probe: versionOfPackage('golang-github-lib-pq-dev', 'go', '/usr/share/gocode/src/github.com/lib/pq'),
    build: (folder) => [
      'env',
      'GO111MODULE=off',
      'GOPATH=/usr/share/gocode',
      'go',
      'build',
      '-o',
      join(folder, 'use_lib_pq'),
      here('go', 'use_lib_pq.go'),
    ],
    command: (folder) => [join(folder, 'use_lib_pq')],
    processes: 'one',
  },
  'pg-native': {
    name: 'pg-native',
    language: 'JavaScript',
    packages: ['libpq-dev', 'python3', 'make', 'g++'],
    install: 'npm run drivers:native',
    probe: [
      process.execPath,
      '-e',
      'if (require(`${process.argv[1]}/pg`).native) console.log(require(`${process.argv[1]}/pg-native`).version)',
      here('native/node_modules'),
    ],
    command: () => [process.execPath, here('native', 'use_pg_native.ts')],
    processes: 'one',
  },
  'php-pdo': php('php-pdo'),
  'php-pgsql': php('php-pgsql'),
  'ruby-pg': {
    name: 'ruby-pg',
    language: 'Ruby',
    packages: ['ruby-pg'],
    probe: ['ruby', '-r', 'pg', '-e', 'print PG::VERSION'],
    command: () => ['ruby', here('ruby', 'use_pg.rb')],
    processes: 'one',
  },
  'dbd-pg': {
    name: 'dbd-pg',
    language: 'Perl',
    packages: ['libdbd-pg-perl', 'libjson-xs-perl'],
    probe: ['perl', '-MDBD::Pg', '-MJSON::XS', '-e', 'print $DBD::Pg::VERSION'],
    command: () => ['perl', here('perl', 'use_dbd_pg.pl')],
    processes: 'each',
  },
} as const satisfies Record<string, DebianDriver>;

/** The version of a driver as upstream has it; null, and why, where it is not installed. */
export function probe({
  probe: command,
  packages,
  install,
}: DebianDriver): { readonly version: string } | { readonly version: null; readonly missing: string } {
  const [file = '', ...args] = command;
  const { error, status, stdout, stderr } = spawnSync(file, args, { encoding: 'utf8' });
  // An epoch ahead of it and the packaging's number behind it say nothing about the driver.
  const version = stdout?.trim().replace(/^\d+:|[-+~].*$/g, '');
  if (error === undefined && status === 0 && version !== '') return { version };
  const why = error?.message ?? stderr.trim().split('\n').at(-1);
  const needed = `needs Debian's ${packages.join(', ')}${install === undefined ? '' : ` and ${install}`}`;
  return { version: null, missing: `${needed}${why ? ` (${why})` : ''}` };
}
