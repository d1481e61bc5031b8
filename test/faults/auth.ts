import { type Fault, fault } from './fault.ts';

const AUTH_QUERY = ['test/integration/auth-query.test.ts'] as const;
const ORACLE = ['test/integration/login-oracle.test.ts'] as const;

/** What PostgreSQL is asked about those who log in, and what strangers learn of that. */
export const authFaults: readonly Fault[] = [
  fault(
    'auth_query runs on a session that has a client’s search_path',
    {
      file: 'src/server/lookup-session.ts',
      find: "readonly startup = [['client_encoding', 'UTF8']] as const;",
      replace:
        "readonly startup = [['client_encoding', 'UTF8'], ['search_path', 'evil,pg_catalog']] as const;",
    },
    AUTH_QUERY,
  ),
  fault(
    'auth_query runs on the connections that clients use',
    {
      file: 'src/server/lookup-session.ts',
      find: 'this.pool.dedicated.join(this);',
      replace: 'if (this.pool.servers.idle.first !== null) this.linked(this.pool.servers.idle.first);',
    },
    AUTH_QUERY,
  ),
  fault(
    'the default auth_query ignores VALID UNTIL',
    {
      file: 'src/config/settings-table.ts',
      find: "'SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END' +",
      replace: "'SELECT rolname, rolpassword' +",
    },
    AUTH_QUERY,
  ),
  fault(
    'an unknown user becomes the one who looked it up',
    {
      file: 'src/daemon/auth-queries.ts',
      find: 'const found = read(outcome.answer, () => {});',
      replace:
        "const seen = read(outcome.answer, () => {});\n    const found: FoundSecret = seen.kind === 'none' ? { kind: 'row', name: target.user, secret: 'x' } : seen;",
    },
    AUTH_QUERY,
  ),
  fault(
    'with trust a client becomes whoever the query makes of its name',
    {
      file: 'src/auth/login-exchange.ts',
      find: 'if (found.name !== this.#applicant.user) {',
      replace: 'if (found.name === null) {',
    },
    AUTH_QUERY,
  ),
  fault(
    'a secret that was changed is not looked up again',
    {
      file: 'src/auth/login-exchange.ts',
      find: 'this.#sources.distrust(this.#applicant);',
      replace: '',
    },
    AUTH_QUERY,
  ),
  fault(
    'an answer of auth_query serves for ever',
    { file: 'src/auth/secret-lookups.ts', find: 'ageMs < this.#parts.ttlMs()', replace: 'ageMs < Infinity' },
    ['test/auth/secret-lookups.test.ts'],
  ),
  fault(
    'names that strangers make up push out those of users',
    {
      file: 'src/auth/secret-lookups.ts',
      find: "found.kind === 'row' ? this.#known : this.#unknown",
      replace: 'this.#known',
    },
    ['test/auth/secret-lookups.test.ts'],
  ),
  fault(
    'the connection for auth_query keeps a place that others wait for',
    {
      file: 'src/server/lookup-session.ts',
      find: "else if (isWanted) this.#close(server, 'evicted');",
      replace: '',
    },
    AUTH_QUERY,
  ),
  fault(
    'a lookup whose connection ended is not sent again',
    { file: 'src/server/lookup-queue.ts', find: 'const MAX_TRIES = 2;', replace: 'const MAX_TRIES = 1;' },
    AUTH_QUERY,
  ),
  fault(
    'whoever may not log in learns as whom the pooler looks names up',
    {
      file: 'src/server/lookup-queue.ts',
      find: "this.#refusal = isOurFault ? fatal('bouncer config error') : serverError;",
      replace: 'this.#refusal = serverError;',
    },
    AUTH_QUERY,
  ),
  fault(
    'an unknown user is asked by MD5 where the others are asked by SCRAM',
    {
      file: 'src/auth/client-auth.ts',
      find: 'const kind = secret?.kind ?? args.mock(false).kind;',
      replace: 'const kind = secret?.kind;',
    },
    ORACLE,
  ),
  fault(
    'an unknown user is shown another iteration count than the others',
    {
      file: 'src/auth/mock-verifier.ts',
      find: 'return { iterations, salt: mockSalt',
      replace: 'return { iterations: 4096, salt: mockSalt',
    },
    ORACLE,
    {
      file: 'src/auth/mock-verifier.ts',
      find: 'const { iterations, saltBytes }',
      replace: 'const { saltBytes }',
    },
  ),
  fault(
    'whoever has not proved to be somebody takes that one’s places',
    {
      file: 'src/client/login.ts',
      find: 'userLimit: user === null ? 0 : limits.maxUserClientConnections,',
      replace: "userLimit: services.limits(database, connection.user ?? '').maxUserClientConnections,",
    },
    AUTH_QUERY,
    {
      file: 'src/client/login.ts',
      find: "      user: user ?? '',",
      replace: "      user: connection.user ?? '',",
    },
  ),
];
