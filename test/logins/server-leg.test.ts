import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Clock, SystemClock } from '../../src/base/clock.ts';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { makeCertificate } from '../support/certificates.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, startPostgres, withClient } from '../support/postgres.ts';
import { Psql } from '../support/psql.ts';
import { Random } from '../support/random.ts';
import { createRole } from '../support/roles.ts';
import { showCertificate, TlsFolder } from '../support/tls.ts';
import { waitFor } from '../support/wait-for.ts';
import { type Ask, byPg, byPsql, type ClientName, type Outcome } from './clients.ts';
import {
  covering,
  differenceOf,
  eachOf,
  MORE,
  md5Secret,
  PART,
  PLAN_TIMEOUT_MS,
  scramSecret,
} from './matrix.ts';
import {
  allServerCases,
  ASKED,
  CERT_ROLE,
  type PlannedServerCase,
  type Role,
  ROLES,
  type ServerPlan,
} from './server-cases.ts';
import { type Asked, type Kept, type ServerExpected, serverExpectedOf } from './server-table.ts';

/**
 * Each way for PostgreSQL to ask us × where our secret comes from × what it is × whether it is right × TLS on either side,
 * with node-postgres and psql, against the tables of server-table.ts.
 */
const RIGHT = 'sl right one';
const WRONG = 'sl other one';
const CLIENT = 'sl_client';
const LOOKER = 'sl_looker';
/** How long clients wait for a server that cannot be reached: the default. */
const CLIENT_LOGIN_TIMEOUT_MS = 60_000;

const seed = Number(process.env['PGWEIR_TEST_SEED'] ?? randomInt(2 ** 31));
const random = new Random(seed);
const psqls = { 'psql 18': Psql.find(), psql: Psql.findInstalled() };
const clients = (['pg', 'psql 18', 'psql'] as const).filter((name) => name === 'pg' || psqls[name] !== null);
const files = new TlsFolder();
const own = files.identity('own', { commonName: CERT_ROLE });
const identity = files.identity('postgres', { commonName: 'localhost', altNames: ['localhost'] });
const otherCaFile = files.write(
  'other-ca.pem',
  makeCertificate({ commonName: 'Another authority', isCa: true }).certPem,
);
const tried: Record<ClientName, number> = { pg: 0, 'psql 18': 0, psql: 0 };
const ended = { in: 0, refused: 0, unreachable: 0 };

const product = allServerCases(clients);
const chosen = new Map<ServerPlan, PlannedServerCase[]>();
for (const planned of covering(product, MORE, random)) {
  chosen.set(planned.plan, [...(chosen.get(planned.plan) ?? []), planned]);
}

let encrypted: Postgres;
let clear: Postgres;

const group = (asked: Asked): string => `sl_asked_${ASKED.indexOf(asked)}`;

/** Lines of pg_hba.conf by which roles are asked. */
function hbaLines(isTlsServer: boolean): string[] {
  const method = (asked: Asked): string => {
    if (asked === 'md5 of scram') return 'md5';
    return asked === 'cert' || asked.startsWith('host') ? 'scram-sha-256' : asked;
  };
  return ASKED.flatMap((asked) => {
    const rest = ['local', 'host'].map(
      (type) => `${type} all +${group(asked)} ${type === 'local' ? '' : '127.0.0.1/32'}`,
    );
    switch (asked) {
      case 'cert':
      case 'hostssl':
      case 'hostnossl': {
        const type = asked === 'hostnossl' ? 'hostnossl' : 'hostssl';
        const line = `${type} all +${group(asked)} 127.0.0.1/32 ${asked === 'cert' ? 'cert' : method(asked)}`;
        // One that has no TLS doesn't know the word.
        const lines = type === 'hostssl' && !isTlsServer ? [] : [line];
        return [...lines, ...rest.map((start) => `${start} reject`)];
      }
      default:
        return rest.map((start) => `${start} ${method(asked)}`);
    }
  });
}

/** A secret as it is kept of a password. */
function secretOf(role: string, kept: Kept, password: string): string {
  if (kept === 'plain') return password;
  if (kept === 'md5') return md5Secret(password, role);
  return kept === 'scram' ? scramSecret(password) : '';
}

const passwordOf = ({ isRight }: { readonly isRight: boolean }): string => (isRight ? RIGHT : WRONG);
const keptSecret = (role: Role): string => secretOf(role.name, role.kept, passwordOf(role));

beforeAll(async () => {
  [encrypted, clear] = await Promise.all([
    startPostgres({ hba: hbaLines(true) }),
    startPostgres({ hba: hbaLines(false) }),
  ]);
  const sql = [
    ...ASKED.map((asked) => `CREATE ROLE ${group(asked)}`),
    ...ROLES.map(({ name, asked }) => {
      const stored = secretOf(name, asked === 'md5' ? 'md5' : 'scram', RIGHT);
      return `CREATE ROLE ${name} LOGIN PASSWORD '${stored}' IN ROLE ${group(asked)}`;
    }),
  ].join('; ');
  for (const postgres of [encrypted, clear]) {
    await withClient(postgres.address, (client) => client.query(sql));
  }
  await showCertificate(encrypted, identity, files.authority.certPem);
  const rows = ROLES.filter(({ origin }) => origin === 'auth_query').map((role) => {
    const secret = keptSecret(role);
    return `('${role.name}', ${secret === '' ? 'NULL' : `'${secret}'`})`;
  });
  await createRole(sharedPostgres(), { name: LOOKER, auth: 'trust', options: 'SUPERUSER' });
  await withClient(sharedPostgres(), (client) =>
    client.query(`CREATE TABLE sl_secrets AS SELECT * FROM (VALUES ${rows.join(', ')}) t(name, secret)`),
  );
});
afterAll(async () => {
  files[Symbol.dispose]();
  await Promise.all([encrypted[Symbol.asyncDispose](), clear[Symbol.asyncDispose]()]);
  console.log(
    `logins on servers: ${tried.pg + tried['psql 18'] + tried.psql} of ${product.cases.length} combinations` +
      ` (${tried.pg} with pg, ${tried['psql 18']} with psql and libpq 18, ${tried.psql} with psql as installed):` +
      ` ${ended.in} let in, ${ended.refused} refused, ${ended.unreachable} without a connection; PGWEIR_TEST_SEED=${seed}`,
  );
});

/** The pooler of a plan; database `c<i>` is that of the case number i. */
async function start(
  { tls }: ServerPlan,
  cases: readonly PlannedServerCase[],
  clock: Clock = new SystemClock(),
): Promise<LocalPooler> {
  const entry = ({ isTlsServer, host, origin, kept, isRight, role }: PlannedServerCase): string => {
    const { address } = isTlsServer ? encrypted : clear;
    const at = { localhost: 'localhost', other: '127.0.0.1', unix: address.socketDir }[host];
    const forced = origin === 'entry' || origin === 'forced' ? `user=${role}` : '';
    const secret = secretOf(role, kept, passwordOf({ isRight }));
    const password = origin === 'entry' ? `password='${secret}'` : '';
    return `host=${at} port=${address.port} dbname=postgres ${forced} ${password}`;
  };
  const lookup = sharedPostgres();
  const known = ROLES.filter(
    ({ origin, kept }) => (origin === 'auth_file' || origin === 'forced') && kept !== 'none',
  ).map((role) => [role.name, keptSecret(role)]);
  const settings = {
    server_tls_sslmode: tls.mode,
    server_tls_ca_file: tls.trusts === 'authority' ? files.caFile : otherCaFile,
    ...(tls.hasCertificate ? { server_tls_cert_file: own.certFile, server_tls_key_file: own.keyFile } : {}),
    auth_user: LOOKER,
    auth_dbname: 'sl_lookup',
    auth_query: 'SELECT name, secret FROM sl_secrets WHERE name = $1',
    max_client_conn: 2000,
    // Each serves one client.
    server_lifetime: 0,
  };
  const pooler = await startPooler({
    clock,
    settings,
    databases: {
      sl_lookup: `host=${lookup.socketDir} port=${lookup.port} dbname=postgres`,
      ...Object.fromEntries(cases.map((one, i) => [`c${i}`, entry(one)])),
    },
    userlist: { ...Object.fromEntries(known), [CLIENT]: '', [LOOKER]: '' },
  });
  const lines = cases.map(({ provenBy }, i) => `host c${i} all 127.0.0.1/32 ${provenBy}`);
  writeFileSync(join(pooler.folder, 'hba'), lines.join('\n'));
  await pooler.reload({ settings: { auth_type: 'hba', auth_hba_file: join(pooler.folder, 'hba') } });
  return pooler;
}

const inTheClear: Ask = {
  sslmode: 'disable',
  isDirect: false,
  host: 'localhost',
  trusts: 'authority',
  certificate: 'none',
  channelBinding: 'prefer',
};

function userOf({ origin, role }: PlannedServerCase): string {
  return origin === 'entry' || origin === 'forced' ? CLIENT : role;
}

function tryIt(pooler: LocalPooler, database: string, planned: PlannedServerCase): Promise<Outcome> {
  const { client, provenBy } = planned;
  tried[client]++;
  const attempt = {
    port: pooler.port,
    socketDir: pooler.socketDir,
    database,
    user: userOf(planned),
    password: passwordOf(planned),
    ask: inTheClear,
    certificate: null,
    ca: { file: files.caFile, pem: files.authority.certPem },
    requiredAuth: provenBy === 'trust' ? 'none' : null,
  };
  if (client === 'pg') return byPg(attempt);
  const psql = psqls[client];
  if (psql === null) throw new Error(`${client} is not there`);
  return byPsql(psql, client === 'psql 18', attempt);
}

const expectedFor = (planned: PlannedServerCase): ServerExpected =>
  serverExpectedOf(planned, planned.role, planned.client === 'pg');

/** Whether its server connection has come to nothing, for the expected reason. */
function isLogged(pooler: LocalPooler, database: string, planned: PlannedServerCase): boolean {
  const expected = expectedFor(planned);
  const because = `closing because: ${expected.kind === 'unreachable' ? expected.reason : ''} `;
  return pooler.lines.some(
    (line) => line.includes(` ${database}/${planned.role}@`) && line.includes(because),
  );
}

describe('on a server', () => {
  test.each([...chosen].map(([plan, cases]) => [plan.title, plan, cases] as const))(
    'with %s',
    async (_title, plan, cases) => {
      const wrong: string[] = [];
      const reached = cases.filter((planned) => expectedFor(planned).kind !== 'unreachable');
      await using pooler = await start(plan, reached);
      await eachOf([...reached.entries()], 5, async ([i, planned]) => {
        const expected = expectedFor(planned);
        if (expected.kind === 'unreachable') throw new Error('it was left out');
        const outcome = await tryIt(pooler, `c${i}`, planned);
        if (outcome.kind !== 'gone') ended[outcome.kind]++;
        // Towards the client it is in the clear.
        const isOverTls = expected.kind === 'in' && expected.isEncrypted;
        const here = expected.kind === 'in' ? { kind: 'in' as const, isEncrypted: false } : expected;
        const difference = differenceOf(outcome, here, `${planned.role}${isOverTls ? ' over TLS' : ''}`);
        if (difference !== null) wrong.push(`${planned.title}: ${difference}`);
      });
      expect(wrong, `PGWEIR_TEST_SEED=${seed}`).toEqual([]);
    },
    PLAN_TIMEOUT_MS,
  );

  test('that cannot be reached as it has to be, a client waits until its time is over', async () => {
    const wrong: string[] = [];
    for (const [plan, cases] of chosen) {
      const unreached = cases.filter((planned) => expectedFor(planned).kind === 'unreachable');
      const clock = new ManualClock();
      await using pooler = await start(plan, unreached, clock);
      const outcomes = Promise.all(unreached.map((planned, i) => tryIt(pooler, `c${i}`, planned)));
      const missing = () => unreached.filter((planned, i) => !isLogged(pooler, `c${i}`, planned));
      await waitFor(() => missing().length === 0, { deadlineMs: 20_000 }).catch(() => {});
      for (const planned of missing())
        wrong.push(`${plan.title}: ${planned.title}: the log has another reason`);
      clock.advance(CLIENT_LOGIN_TIMEOUT_MS + 1);
      for (const [i, outcome] of (await outcomes).entries()) {
        const planned = unreached[i] as PlannedServerCase;
        ended.unreachable++;
        const code = planned.client === 'pg' ? '08P01' : null;
        const errors = [{ message: 'client_login_timeout (server down)', code }];
        const difference = differenceOf(outcome, { kind: 'refused', errors }, planned.role);
        if (difference !== null) wrong.push(`${plan.title}: ${planned.title}: ${difference}`);
      }
    }
    expect(wrong, `PGWEIR_TEST_SEED=${seed}`).toEqual([]);
  }, 120_000);

  test('has been tried in every way', () => {
    expect(tried.pg).toBeGreaterThan(500 / PART);
    if (psqls['psql 18'] !== null) expect(tried['psql 18'] + tried.psql).toBeGreaterThan(200 / PART);
    for (const count of Object.values(ended)) expect(count).toBeGreaterThan(25 / PART);
  });
});
