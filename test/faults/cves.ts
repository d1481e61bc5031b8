import { type Fault, fault } from './fault.ts';

const TESTS: Fault['tests'] = ['test/integration/cves.test.ts'];

/** Guards against what has gone wrong in PgBouncer once, taken out one by one. */
export const cveFaults: readonly Fault[] = [
  fault(
    'CVE-2012-4575: over-long database names are taken',
    {
      file: 'src/config/databases.ts',
      find: 'Buffer.byteLength(name) > MAX_DATABASE_NAME_BYTES',
      replace: 'Buffer.byteLength(name) > 100 * MAX_DATABASE_NAME_BYTES',
    },
    TESTS,
    // Such names are kept out of entries made from `*` once more.
    {
      file: 'src/daemon/databases.ts',
      find: 'Buffer.byteLength(name) > MAX_DATABASE_NAME_BYTES',
      replace: 'Buffer.byteLength(name) > 100 * MAX_DATABASE_NAME_BYTES',
    },
  ),
  fault(
    'CVE-2015-4054: a password ahead of the StartupMessage is not told apart',
    {
      file: 'src/client/startup.ts',
      find: 'if (bytes[0] === FrontendType.Password) {',
      replace: 'if (bytes.length < 0) {',
    },
    TESTS,
  ),
  fault(
    'CVE-2026-6664: a SASL message may say that it is shorter than it is',
    {
      file: 'src/wire/authentication.ts',
      find: "if (reader.remaining !== 0) throw new ProtocolViolation('bytes behind the SASL initial response');",
      replace: '',
    },
    TESTS,
  ),
  fault(
    'CVE-2026-6665: a nonce of a server may be longer than twice a client’s',
    {
      file: 'src/auth/scram-messages.ts',
      find: '{1,2048}$/.test(nonce)',
      replace: '{1,65536}$/.test(nonce)',
    },
    TESTS,
  ),
  fault(
    'CVE-2026-6666: an error without SQLSTATE says more than one with it',
    { file: 'src/server/opening.ts', find: 'sqlstate === undefined ||', replace: "sqlstate === 'none' ||" },
    TESTS,
  ),
  fault(
    'CVE-2026-107348: lengths of 2^31 and more are waited for',
    { file: 'src/wire/startup-packet.ts', find: '|| length > 0xffff)', replace: '|| length > 0xffffffff)' },
    TESTS,
  ),
  fault(
    'CVE-2026-107349: options may have values without a name',
    { file: 'src/wire/startup-options.ts', find: 'if (equals <= 0)', replace: 'if (equals < 0)' },
    TESTS,
  ),
  fault(
    'CVE-2026-107350: a StartupMessage in the middle of a login is a message like others',
    { file: 'src/client/login.ts', find: 'if (type === 0)', replace: 'if (type < 0)' },
    TESTS,
  ),
];
