/**
 * Settings for speed: a test's data need not survive a crash of the machine. It must survive one of PostgreSQL,
 * which tests cause, so commits stay synchronous; without fsync that costs next to nothing.
 */
export const fastSettings: Readonly<Record<string, string | number>> = {
  fsync: 'off',
  full_page_writes: 'off',
  max_connections: 200,
  log_checkpoints: 'off',
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
