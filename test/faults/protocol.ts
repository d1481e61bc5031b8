import { type Fault, fault } from './fault.ts';

const SERVER_SIDE = ['test/integration/protocol-server.test.ts'] as const;

/** Versions of the protocol, and cancel keys. */
export const protocolFaults: readonly Fault[] = [
  fault(
    'a cancel key is good with any secret',
    {
      file: 'src/client/cancel-keys.ts',
      find: 'if (sameBytes(issued.key, issued.isMarked ? withHops(key, MAX_HOPS) : key)) owner',
      replace: 'owner',
    },
    ['test/client/cancel-keys.test.ts'],
  ),
  fault(
    'two clients may get cancel keys with one process ID',
    {
      file: 'src/client/cancel-keys.ts',
      find: 'if (processId === 0 || (sharing !== undefined && tries < TRIES)) continue;',
      replace: 'if (processId === 0) continue;',
    },
    ['test/client/cancel-keys.test.ts'],
  ),
  fault(
    'the cancel key of a client that has left still finds it',
    {
      file: 'src/daemon/client-services.ts',
      find: 'state.cancelKeys.revoke(cancelKey);',
      replace: '',
    },
    ['test/integration/protocol-client.test.ts'],
  ),
  fault(
    'a client of protocol 3.0 gets a long cancel key',
    { file: 'src/client/cancel-keys.ts', find: 'minor >= 2 ?', replace: 'minor >= 0 ?' },
    ['test/integration/protocol-client.test.ts'],
  ),
  fault(
    'a client that asks for a version that does not exist gets it',
    {
      file: 'src/client/login.ts',
      find: 'connection.protocolMinor = Math.min(packet.protocolMinor, NEWEST_MINOR);',
      replace: 'connection.protocolMinor = packet.protocolMinor;',
    },
    ['test/integration/protocol-client.test.ts'],
  ),
  fault(
    'a server that refuses 3.2 is out of reach',
    { file: 'src/server/opening.ts', find: 'this.asksAgain(message)) return;', replace: 'false) return;' },
    SERVER_SIDE,
  ),
  fault(
    'every refusal of a server is met twice',
    { file: 'src/server/opening.ts', find: 'mayMeanVersion(fields.sqlstate) && ', replace: '' },
    SERVER_SIDE,
  ),
  fault(
    'what has broken behind a request for authentication counts as a refusal of the version',
    {
      file: 'src/server/opening.ts',
      find: ' || this.login.isVersionTaken) return false;',
      replace: ') return false;',
    },
    SERVER_SIDE,
  ),
  fault(
    'nobody remembers that a server takes 3.0 alone',
    { file: 'src/server/protocols.ts', find: 'if (this.#clock.nowMs() < untilMs) return 0;', replace: '' },
    SERVER_SIDE,
  ),
  fault(
    'a server that has refused 3.0 as well is not asked for 3.2 any more',
    {
      file: 'src/server/opening.ts',
      find: 'if (this.#isRefused && this.login.isVersionTaken) this',
      replace: 'if (this.#isRefused) this',
    },
    SERVER_SIDE,
  ),
  fault(
    'a server that is gone after its refusal is connected to in a loop',
    {
      file: 'src/server/opening.ts',
      find: 'this.#isConnected = false;\n    this.#awaitsEnd = false;',
      replace: 'this.#isConnected = false;',
    },
    SERVER_SIDE,
  ),
  fault(
    'a server’s second cancel key takes the place of its first',
    {
      file: 'src/server/login.ts',
      find: "if (this.#backendKey !== null) throw new ProtocolViolation('unknown pkt from server');",
      replace: '',
    },
    ['test/server/login.test.ts'],
  ),
  fault(
    'a server may negotiate at any time',
    {
      file: 'src/server/login.ts',
      find: 'if (this.#isNegotiated || this.#isVersionTaken)',
      replace: 'if (false as boolean)',
    },
    ['test/server/login.test.ts'],
  ),
  fault(
    'a server may negotiate a newer version than it was asked for',
    { file: 'src/wire/negotiate-protocol-version.ts', find: 'minor > askedMinor || ', replace: '' },
    ['test/wire/negotiate-protocol-version.test.ts'],
  ),
  fault(
    'names of a Bind are looked for behind its end',
    {
      file: 'src/client/statement-filter.ts',
      find: 'const stop = Math.min(end, body + bodyBytes);',
      replace: 'const stop = end;',
    },
    ['test/integration/bad-client-input.test.ts'],
  ),
  fault(
    'what PostgreSQL refuses without being asked is passed on',
    { file: 'src/relay/malformed.ts', find: 'return bodyBytes !== 0;', replace: 'return false;' },
    ['test/integration/bad-client-input.test.ts'],
  ),
  fault(
    'a server that skips to a Sync of the client’s is taken for stuck',
    {
      file: 'src/relay/request-tracker.ts',
      find: ' || this.isSkipped) return false;',
      replace: ') return false;',
    },
    ['test/integration/copy-probe.test.ts'],
  ),
];
