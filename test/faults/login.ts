import { type Fault, fault } from './fault.ts';

const CLIENT_AUTH = ['test/auth/client-auth.test.ts', 'test/auth/login-matrix.test.ts'] as const;
const DERIVED = ['test/auth/derived-keys.test.ts'] as const;

const CLIENT_LEG = ['test/logins/client-leg.test.ts'] as const;
const SERVER_LEG = ['test/logins/server-leg.test.ts'] as const;
const REFUSALS = ['test/logins/refusals.test.ts'] as const;

/** Who is let in, and what those learn who are not. */
export const loginFaults: readonly Fault[] = [
  fault(
    'a bad startup packet is answered with bytes that others have sent',
    {
      file: 'src/wire/startup-packet.ts',
      find: 'Math.min(end, STARTUP_HEADER_BYTES)',
      replace: 'Math.max(Math.min(end, 0), STARTUP_HEADER_BYTES)',
    },
    ['test/integration/bad-client-input.test.ts'],
  ),
  fault(
    'a client without a certificate is let in where one is mandatory',
    {
      file: 'src/tls/client-side.ts',
      find: "if (certificates === 'required') return { refusal: 'no certificate' };",
      replace: '',
    },
    CLIENT_LEG,
  ),
  fault(
    'a rule for encrypted connections is for others, too',
    {
      file: 'src/config/hba-match.ts',
      find: "type === (isTls ? 'hostssl' : 'hostnossl')",
      replace: "type === 'hostssl' || type === (isTls ? '' : 'hostnossl')",
    },
    CLIENT_LEG,
  ),
  fault(
    'the keys of a SCRAM login are not kept for the server',
    {
      file: 'src/auth/server-auth.ts',
      find: "if (scramKeys !== null && (secret.kind === 'scram' || !secretText)) {",
      replace: "if (scramKeys !== null && secret.kind === 'md5') {",
    },
    SERVER_LEG,
  ),
  fault(
    'server_tls_sslmode = verify-full takes any host’s certificate',
    {
      file: 'src/tls/server-side.ts',
      find: "verifies === 'host' && !isForHost",
      replace: "verifies === 'nothing' && !isForHost",
    },
    SERVER_LEG,
  ),
  fault(
    'who has no row in auth_query is told so',
    {
      file: 'src/auth/login-exchange.ts',
      find: "if (found.kind === 'failed') return failed(found.error, 'auth_query failed');\n    this.#isUnknown",
      replace:
        "if (found.kind === 'failed') return failed(found.error, 'auth_query failed');\n    if (stored.kind === 'queried' && found.kind === 'none') return failed(fatal('no such user'), 'no row');\n    this.#isUnknown",
    },
    REFUSALS,
  ),

  fault(
    'a server that cannot prove that it knows the password is trusted',
    {
      file: 'src/auth/server-auth.ts',
      find: "if (!sameBytes(signature, expected)) return this.#fail('server login failed: invalid server signature');",
      replace: '',
    },
    ['test/auth/server-auth.test.ts'],
  ),
  fault(
    'the salt of a stored SCRAM secret has to have 16 bytes',
    {
      file: 'src/auth/secret.ts',
      find: 'salt === null || salt.length === 0) return null;',
      replace: 'salt?.length !== 16) return null;',
    },
    ['test/integration/auth.test.ts'],
  ),
  fault(
    'a server’s SCRAM salt has to have 16 bytes',
    {
      file: 'src/auth/scram-messages.ts',
      find: 'if (salt === null || salt.length === 0 || iterations',
      replace: 'if (salt?.length !== 16 || iterations',
    },
    ['test/integration/server-auth.test.ts'],
  ),
  fault(
    'a server that leaves out its proof is trusted',
    {
      file: 'src/auth/server-auth.ts',
      find: "case 'serverProven':\n        this.#state",
      replace: "case 'serverProven':\n      case 'proofSent':\n        this.#state",
    },
    ['test/auth/server-auth.test.ts'],
  ),
  fault(
    'a stored hash is sent to a server that asks for a password',
    {
      file: 'src/auth/server-auth.ts',
      find: "if (secret.kind !== 'plain') return this.#fail('server login failed: wrong password type');\n    this.#state = { kind: 'answered' };\n    return { kind: 'send', bytes: passwordMessage(secret.password) };",
      replace:
        "this.#state = { kind: 'answered' };\n    return { kind: 'send', bytes: passwordMessage(this.#args.credentials.secretText ?? '') };",
    },
    ['test/auth/server-auth.test.ts'],
  ),
  fault(
    'what stands behind the answer to StartTLS passes for encrypted',
    {
      file: 'src/auth/ldap-connection.ts',
      find: "if (this.#gathered.length > 0) throw new Error('the LDAP server has sent bytes ahead of TLS');",
      replace: '',
    },
    ['test/integration/ldap-peers.test.ts'],
  ),
  fault(
    'a login of an unknown user is quicker than that of a known one',
    {
      file: 'src/auth/client-scram.ts',
      find: 'if (!this.#args.mock(true).derives) return verdict(null);',
      replace: 'if (this.#secret === null || !this.#args.mock(true).derives) return verdict(null);',
    },
    CLIENT_AUTH,
  ),
  fault(
    'where secrets are of both kinds, a wrong proof takes a derivation for some of them alone',
    {
      file: 'src/auth/client-scram.ts',
      find: 'if (!this.#args.mock(true).derives) return verdict(null);',
      replace: 'if (this.#args.mock(true).iterations > 0) return verdict(null);',
    },
    CLIENT_AUTH,
  ),
  fault(
    'a wrong password of somebody who has logged in is refused sooner than one of somebody unknown',
    {
      file: 'src/auth/derived-keys.ts',
      find: 'if (known !== undefined && isProven(known)) return known;',
      replace: 'if (known !== undefined) return isProven(known) ? known : Promise.resolve(null);',
    },
    DERIVED,
  ),
  fault(
    'guesses at the same user share a derivation, and others do not',
    {
      file: 'src/auth/derived-keys.ts',
      find: 'const own = this.#derive(secret, () => !isServed && isWanted());',
      replace: 'const own = pending?.verifier ?? this.#derive(secret, () => !isServed && isWanted());',
    },
    DERIVED,
  ),
  fault(
    'who waits for a key that another one has asked for goes without when that one leaves',
    { file: 'src/auth/derived-keys.ts', find: 'pending.askers.push(isWanted);', replace: '' },
    DERIVED,
  ),
  fault(
    'begun TLS handshakes are no part of what may be held before login',
    {
      file: 'src/net/tls-layer.ts',
      find: 'this.#hidden += end;',
      replace: 'if (this.#isSecured) this.#hidden += end;',
    },
    ['test/integration/before-login.test.ts'],
  ),
  fault(
    'key updates and padding of TLS are no part of what may be sent before login',
    {
      file: 'src/net/tls-layer.ts',
      find: 'this.#hidden += end;',
      replace: 'if (!this.#isSecured) this.#hidden += end;',
    },
    ['test/integration/before-login.test.ts'],
  ),
  fault(
    'an unknown user is told so at once',
    {
      file: 'src/auth/client-auth.ts',
      find: '// A known user without a password can log in no more than an unknown one.',
      replace:
        "if (secretText === null) return new ImmediateExchange({ kind: 'fail', error: fatal('no such user') });",
    },
    CLIENT_AUTH,
  ),
  fault(
    'any md5 password will do for a known user',
    {
      file: 'src/auth/client-password.ts',
      find: 'return this.#verdict(matches && secret !== null);',
      replace: 'return this.#verdict(secret !== null);',
    },
    CLIENT_AUTH,
  ),
  fault(
    'whoever meets the mock hash of an unknown user is let in',
    {
      file: 'src/auth/client-password.ts',
      find: 'return this.#verdict(matches && secret !== null);',
      replace: 'return this.#verdict(matches);',
    },
    CLIENT_AUTH,
  ),
  fault(
    'a SCRAM proof is good for any nonce',
    {
      file: 'src/auth/client-scram.ts',
      find: "if (message.nonce !== nonce) return this.#refuse('nonce differs');",
      replace: '',
    },
    ['test/auth/client-auth.test.ts'],
  ),
  fault(
    'the log tells the stored secret after a wrong password',
    {
      file: 'src/auth/client-password.ts',
      find: ": 'wrong password');",
      replace: ': `wrong password, expected ${this.#args.secretText}`);',
    },
    ['test/auth/client-auth.test.ts'],
  ),
  fault(
    'the log quotes a broken line of auth_file',
    {
      file: 'src/config/userlist-source.ts',
      find: 'the rest is not read`;',
      replace: 'not ${[...secrets.values()].join()}`;',
    },
    ['test/config/load.test.ts'],
  ),
  fault(
    'anybody who calls himself pgbouncer on the unix socket is administrator',
    {
      file: 'src/admin/access.ts',
      find: 'return unixSameUid && user === ADMIN_DATABASE;',
      replace: 'return user === ADMIN_DATABASE;',
    },
    ['test/admin/access.test.ts'],
  ),
  fault(
    'every uid on the unix socket passes for our own',
    {
      file: 'src/daemon/loop.ts',
      find: 'isUnixSameUid: credentials !== null && credentials.uid === process.geteuid?.(),',
      replace: 'isUnixSameUid: credentials !== null,',
    },
    ['test/integration/console-login.test.ts'],
  ),
  fault(
    'users of stats_users may KILL_CLIENT',
    {
      file: 'src/admin/access.ts',
      find: "['kill_client', 'admin'],",
      replace: "['kill_client', 'stats'],",
    },
    ['test/admin/commands.test.ts'],
  ),
  fault(
    'strangers learn which databases exist',
    {
      file: 'src/client/login.ts',
      find: 'const { replication } = connection;',
      replace:
        "if (!isConsole && services.findDatabase(database) === null) return connection.fail(fatal('no such database'));\n    const { replication } = connection;",
    },
    ['test/integration/auth.test.ts'],
  ),
  fault(
    'one address may have any number of connections that do not log in',
    {
      file: 'src/client/doorkeeper.ts',
      find: "const keyLimit = visitKind === 'leaving' ? 0 : perAddress;",
      replace: 'const keyLimit = 0 * perAddress;',
    },
    ['test/client/doorkeeper.test.ts', 'test/integration/before-login.test.ts'],
  ),
  fault(
    'logins that are not completed keep everybody else out of max_client_conn',
    {
      file: 'src/client/login.ts',
      find: "(grant === 'total' || grant === 'database') &&",
      replace: "grant === 'user' &&",
    },
    ['test/integration/before-login.test.ts'],
  ),
  fault(
    'who comes by a unix socket is asked nothing before the login',
    {
      file: 'src/daemon/context.ts',
      find: '() => unixDoorLimits(this.#config)',
      replace: '() => (unixDoorLimits(this.#config), { total: 0, perAddress: 0 })',
    },
    ['test/integration/before-login.test.ts'],
  ),
  fault(
    'max_login_conn set low for the network refuses what a system user begins at once',
    {
      file: 'src/config/effective.ts',
      find: '[doorLimits(config).total, usualLogins(config)]',
      replace: '[doorLimits(config).total]',
    },
    ['test/config/effective.test.ts', 'test/integration/before-login.test.ts'],
  ),
  fault(
    'a flood over the network closes the unix socket',
    {
      file: 'src/client/doorkeeper.ts',
      find: 'const kind = this.#isUnix ?',
      replace: 'const kind = false ?',
    },
    ['test/integration/before-login.test.ts', 'test/client/doorkeeper.test.ts'],
  ),
  fault(
    'logins by a unix socket that are not completed keep those over the network out of max_client_conn',
    {
      file: 'src/client/doorkeeper.ts',
      find: 'for (const door of this.#doors) {\n      // All',
      replace: 'for (const door of [this]) {\n      // All',
    },
    ['test/client/doorkeeper.test.ts'],
  ),
  fault(
    'a failure of auth_query that nobody is to learn of is remembered as no such user',
    {
      file: 'src/auth/secret-lookups.ts',
      find: "(found.kind === 'none' && found.isUnsure !== true)",
      replace: "found.kind === 'none'",
    },
    ['test/auth/secret-lookups.test.ts'],
  ),
  fault(
    'attempts that wait for a server connection keep their turns though nobody waits for them',
    {
      file: 'src/server/lookup-queue.ts',
      find: 'if (this.#waiting.length === 0) session?.giveUp();',
      replace: '',
    },
    ['test/daemon/auth-queries.test.ts'],
  ),
  fault(
    'those who come together by the unix socket give way to a flood from the network at once',
    {
      file: 'src/client/doorkeeper.ts',
      find: '.length : Infinity;',
      replace: '.length : 0;',
    },
    ['test/client/doorkeeper.test.ts'],
  ),
  fault(
    'whoever needs a host name waits for a turn without end',
    {
      file: 'src/net/host-names.ts',
      find: ' && this.#clock.nowMs() - sinceMs < TURN_PATIENCE_MS',
      replace: '',
    },
    ['test/net/host-names.test.ts'],
  ),
  fault(
    'cancel requests take places of logins',
    { file: 'src/client/doorkeeper.ts', find: "    this.move(visit, 'cancel');\n", replace: '' },
    ['test/client/doorkeeper.test.ts', 'test/integration/before-login.test.ts'],
  ),
  fault(
    'a flood of failed logins fills the log',
    {
      file: 'src/client/connection.ts',
      find: 'if (!log.enabled(level) || this.visit?.mayWrite() === false) return;',
      replace: 'if (!log.enabled(level)) return;',
    },
    ['test/integration/before-login.test.ts'],
  ),
  fault(
    'a login that comes byte by byte may take for ever',
    {
      file: 'src/client/startup.ts',
      find: 'timeoutMs > 0 && nowMs - loginFromMs > timeoutMs',
      replace: 'timeoutMs > 0 && nowMs - loginFromMs > timeoutMs && this.#gathered.length === 0',
    },
    ['test/integration/before-login.test.ts'],
  ),
  fault(
    'a derivation that nobody waits for takes a place from other threads',
    {
      file: 'src/auth/pbkdf2-queue.ts',
      find: 'this.#gate === null || !isWanted ?',
      replace: 'this.#gate === null ?',
    },
    ['test/daemon/shared-gate.test.ts'],
  ),
  fault(
    'the last password to be derived is the first to be served',
    {
      file: 'src/auth/pbkdf2-queue.ts',
      find: 'this.#waiting.pushBack(new Job(',
      replace: 'this.#waiting.pushFront(new Job(',
    },
    ['test/auth/pbkdf2-queue.test.ts', 'test/integration/before-login.test.ts'],
  ),
  fault(
    'a StartupMessage may say twice where it leads, in another case',
    {
      file: 'src/relay/extra-parameters.ts',
      find: "if (OURS.has(key) || OF_A_TRANSACTION.has(key) || key.startsWith('_pq_.')) return false;",
      replace: '',
    },
    ['test/client/startup-parameters.test.ts'],
  ),
  fault(
    'the console goes by the rules for replication where that is asked for',
    {
      file: 'src/client/login.ts',
      find: "connection.replication = isConsole ? 'none' : request.replication;",
      replace: 'connection.replication = request.replication;',
    },
    ['test/integration/hba.test.ts'],
  ),
  fault(
    'auth_query may make anybody a user of auth_file',
    {
      file: 'src/auth/login-exchange.ts',
      find: 'if (this.#sources.isListed(name))',
      replace: 'if (name === null)',
    },
    ['test/auth/login-exchange.test.ts'],
  ),
];
