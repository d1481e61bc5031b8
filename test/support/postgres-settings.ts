/**
 * Settings for speed: a test's data need not survive a crash of the machine. It must survive one of PostgreSQL,
 * which tests cause, so commits stay synchronous; without fsync that costs next to nothing.
 */
export const fastSettings: Readonly<Record<string, string | number>> = {
  fsync: 'off',
  full_page_writes: 'off',
  max_connections: 200,
  log_checkpoints: 'off',
  // It would look into each of the many databases once a minute.
  autovacuum: 'off',
};

/**
 * How roles log in: as members of `auth_trust`, `auth_password` or `auth_md5` by that method, all others by
 * SCRAM. See `createRole`.
 */
export const testHba: readonly string[] = ['trust', 'password', 'md5'].flatMap((method) => [
  `local all +auth_${method} ${method}`,
  `host all +auth_${method} 127.0.0.1/32 ${method}`,
]);

/** Made in the template, for `testHba`. */
export const testRoles: readonly string[] = ['trust', 'password', 'md5'].map(
  (method) => `CREATE ROLE auth_${method}`,
);

/** Names pristine data for runs of tests that follow each other, as JSON of {@link MadeData}; unset: each makes its own. */
const DATA_VARIABLE = 'PGWEIR_TEST_DATA';

/** Data of a PostgreSQL with the roles of tests, and its superuser's password. */
export interface MadeData {
  readonly templateDir: string;
  readonly password: string;
}

/** What whoever runs the tests has made ahead of them; null: nothing. */
export function madeData(): MadeData | null {
  const text = process.env[DATA_VARIABLE];
  return text === undefined ? null : (JSON.parse(text) as MadeData);
}

/** An environment in which {@link madeData} gives this. */
export function withMadeData({ templateDir, password }: MadeData): Readonly<Record<string, string>> {
  return { [DATA_VARIABLE]: JSON.stringify({ templateDir, password }) };
}
