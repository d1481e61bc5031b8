import { type Fault, fault } from './fault.ts';

const AUTH_QUERY = ['test/integration/auth-query.test.ts'] as const;
const HBA = ['test/config/hba.test.ts'] as const;
const QUERIES = ['test/daemon/auth-queries.test.ts'] as const;
const TENANTS = ['test/integration/auth-query-tenants.test.ts'] as const;
const HOSTS = ['test/net/host-names.test.ts'] as const;
const EXCHANGE = ['test/auth/login-exchange.test.ts'] as const;
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
      file: 'src/daemon/auth-queries.ts',
      find: 'CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL ELSE rolpassword END',
      replace: 'rolpassword',
    },
    AUTH_QUERY,
  ),
  fault(
    'the owner of a database says what the default auth_query reads and calls there',
    {
      file: 'src/daemon/auth-queries.ts',
      find: 'given === DEFAULT_AUTH_QUERY ? QUALIFIED_AUTH_QUERY : given;',
      replace: 'given;',
    },
    TENANTS,
  ),
  fault(
    'strangers have PostgreSQL asked again and again for what it has refused',
    {
      file: 'src/server/lookup-queue.ts',
      find: 'return this.isIdle && nowMs >= this.#retryMs;',
      replace: 'return this.isIdle && nowMs >= 0;',
    },
    AUTH_QUERY,
  ),
  fault(
    'a stranger learns from PostgreSQL which databases there are',
    {
      file: 'src/daemon/auth-queries.ts',
      find: 'const tells = isGuessed && refusal !== null',
      replace: 'const tells = isGuessed && refusal === error && refusal === null',
    },
    TENANTS,
  ),
  fault(
    'a query that fails tells which databases there are',
    {
      file: 'src/daemon/auth-queries.ts',
      find: "if (isGuessed && found.kind === 'failed') return { kind: 'none', isUnsure: true };",
      replace: '',
    },
    TENANTS,
  ),
  fault(
    'databases that strangers make up are all tried at once',
    {
      file: 'src/daemon/auth-queries.ts',
      find: 'const MAX_UNPROVEN = 8;',
      replace: 'const MAX_UNPROVEN = 80;',
    },
    TENANTS,
  ),
  fault(
    'databases that hang keep others from being tried',
    {
      file: 'src/server/lookup-queue.ts',
      find: 'if (this.#session === session) this.#session = null;\n    this.#leaveTurn();',
      replace: 'if (this.#session === session) this.#session = null;',
    },
    QUERIES,
  ),
  fault(
    'a refusal of a database that a client alone has named is forgotten at once',
    {
      file: 'src/daemon/auth-queries.ts',
      find: 'if (queue.isEmpty(nowMs)) this.#queues.delete(key);',
      replace: 'if (queue.isIdle) this.#queues.delete(key);',
    },
    QUERIES,
  ),
  fault(
    'databases that strangers make up are filled to min_pool_size',
    {
      file: 'src/daemon/janitor.ts',
      find: 'sweepPool(pool, nowMs, !this.#state.databases.isUnproven(pool.database));',
      replace: 'sweepPool(pool, nowMs);',
    },
    TENANTS,
  ),
  fault(
    'a RELOAD takes what strangers have made up for databases that are there',
    {
      file: 'src/daemon/reload.ts',
      find: 'if (entry.user === null || isProbed) continue;',
      replace: 'if (entry.user === null || entry.name === String(isProbed)) continue;',
    },
    TENANTS,
  ),
  fault(
    'databases that strangers make up fill the log',
    {
      file: 'src/daemon/auth-queries.ts',
      find: 'mayWrite: () => !isUnproven() || door.lines.mayWrite(UNPROVEN),',
      replace: 'mayWrite: () => true,',
    },
    TENANTS,
  ),
  fault(
    'databases that strangers have made up are remembered',
    {
      file: 'src/daemon/janitor.ts',
      find: 'else if (database.isProbed) isGone.add(name);',
      replace: '',
    },
    TENANTS,
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
      find: 'if (found.name !== user) {',
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
    ['test/integration/auth-query-peers.test.ts'],
  ),
  fault(
    'whoever may not log in learns as whom the pooler looks names up',
    {
      file: 'src/daemon/auth-queries.ts',
      find: 'error: isOurFault(refusal) ? LOST : refusal',
      replace: 'error: refusal',
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
  fault(
    'a line of the HBA file that makes no sense is left out',
    {
      file: 'src/config/hba.ts',
      find: 'return lines.map((line) => new RuleReader(line, around).read());',
      replace:
        'return lines.flatMap((line) => {\n    try {\n      return [new RuleReader(line, around).read()];\n    } catch {\n      return [];\n    }\n  });',
    },
    HBA,
  ),
  fault(
    'a reject that depends on what nobody can tell lets in',
    {
      file: 'src/config/hba-match.ts',
      find: "if (verdict === true || (verdict === null && rule.method === 'reject')) return rule;",
      replace: 'if (verdict === true) return rule;',
    },
    HBA,
  ),
  fault(
    'a rule that depends on what nobody can tell lets in',
    {
      file: 'src/config/hba-match.ts',
      find: "(verdict === null && rule.method === 'reject')",
      replace: 'verdict === null',
    },
    HBA,
  ),
  fault(
    'physical replication comes under rules for all databases',
    {
      file: 'src/config/hba-match.ts',
      find: "if (who.replication === 'physical') return name.kind === 'replication';",
      replace: "if (who.replication === 'physical' && name.kind === 'replication') return true;",
    },
    HBA,
  ),
  fault(
    'a quoted keyword is one',
    { file: 'src/config/hba.ts', find: "if (text === 'all' && !isQuoted)", replace: "if (text === 'all')" },
    HBA,
  ),
  fault(
    'an expression that takes for ever is taken',
    {
      file: 'src/config/name-regex.ts',
      find: 'waysOf(ways, spans) > MAX_WAYS',
      replace: 'waysOf(ways, spans) > Infinity',
    },
    ['test/config/name-regex.test.ts'],
  ),
  fault(
    'one alternative with ^ makes all of them begin at the start',
    {
      file: 'src/config/name-regex.ts',
      find: "spans = source[pos + 1] === '^' ? 0 : 1;",
      replace: "spans = source.startsWith('^') ? 0 : 1;",
    },
    ['test/config/name-regex.test.ts'],
  ),
  fault(
    'a host is who it says it is',
    {
      file: 'src/net/host-names.ts',
      find: 'addresses.found.includes(ip);',
      replace: 'addresses.found.length > 0;',
    },
    HOSTS,
  ),
  fault(
    'a login waits for the name of its host for as long as a resolver likes',
    {
      file: 'src/net/host-names.ts',
      find: 'if (nowMs - running.sinceMs >= PATIENCE_MS) running.giveUp();',
      replace: 'if (nowMs - running.sinceMs >= Infinity) running.giveUp();',
    },
    HOSTS,
  ),
  fault(
    'the addresses of a host are looked up for nobody',
    {
      file: 'src/net/host-names.ts',
      find: 'await this.#addresses.of(found, who);',
      replace: 'await this.#addresses.of(found, { ...who, isWanted: () => true });',
    },
    HOSTS,
  ),
  fault(
    'whoever asks while a look-up waits for its turn is not asked whether he is there',
    {
      file: 'src/net/host-names.ts',
      find: 'if (known?.atMs === null) known.askers.push(asker);',
      replace: '',
    },
    HOSTS,
  ),
  fault(
    'a stranger with many addresses has all of them looked up before anybody else’s',
    { file: 'src/net/host-names.ts', find: 'party: peerName(ip)', replace: "party: ''" },
    HOSTS,
  ),
  fault(
    'a look-up of a host’s name that fails writes a line at each login',
    {
      file: 'src/daemon/login-rules.ts',
      find: 'if (answer === null && !asker.isAbandoned) warn(',
      replace: "if (answer === null && !asker.isAbandoned && warn) this.#state.log.log('WARNING', ",
    },
    ['test/daemon/login-rules.test.ts'],
  ),
  fault(
    'a name that becomes another leads around the HBA rule for that',
    {
      file: 'src/auth/login-exchange.ts',
      find: 'rule !== null && rule.key === before',
      replace: 'rule !== before',
    },
    EXCHANGE,
  ),
  fault(
    'an empty password goes to the LDAP server, which takes it for a bind as nobody',
    {
      file: 'src/auth/typed-password.ts',
      find: "if (typed.length === 0) return { kind: 'fail', error: fatal('empty password returned by client') };",
      replace: '',
    },
    EXCHANGE,
  ),
  fault(
    'names are part of the DN',
    { file: 'src/auth/ldap-names.ts', find: "prefix.includes('=') ? escapeDn(user) : user", replace: 'user' },
    ['test/auth/ldap-names.test.ts'],
  ),
  fault(
    'a wildcard in a certificate is a user',
    {
      file: 'src/config/ident-match.ts',
      find: 'if (rules === null) return systemNames.includes(user);',
      replace:
        "if (rules === null) return systemNames.some((name) => name === user || (name.startsWith('*.') && user.endsWith(name.slice(1))));",
    },
    ['test/config/ident.test.ts'],
  ),
  fault(
    'a full server is taken for a full database whose name is a word of its error',
    {
      file: 'src/daemon/auth-queries.ts',
      find: 'routine === undefined ? message.includes(database) : routine === OF_FULL_DATABASE;',
      replace: 'message.includes(database) || routine === OF_FULL_DATABASE;',
    },
    ['test/daemon/auth-queries.test.ts'],
  ),
];
