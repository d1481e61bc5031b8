import { userInfo } from 'node:os';
import {
  type ClientCase,
  expectedOf,
  type Method,
  type Source,
  STORED,
  type Stored,
  TLS_MODES,
  type TlsSetting,
} from './client-table.ts';
import { type Ask, type ClientName, isForPg } from './clients.ts';
import { isFull } from '../support/effort.ts';
import type { Product } from './matrix.ts';

/** One pooler of the matrix. */
export interface ClientPlan {
  readonly title: string;
  readonly tls: TlsSetting;
  readonly authType: string;
  /** What its `auth_type` is, or its HBA file's lines are. */
  readonly methods: readonly Method[];
  readonly fashion: ClientCase['fashion'];
}

/** A cell, and the login that shows it. */
export interface PlannedCase extends ClientCase {
  readonly title: string;
  readonly plan: ClientPlan;
  readonly askName: string;
  readonly user: string;
  readonly database: string;
}

const OWN = userInfo().username;

/** In names of databases. */
export function slug(method: Method): string {
  return method.replaceAll(' ', '_');
}

/** The user whose secret is kept so. */
export function userOf(source: Source, stored: Stored): string {
  return stored === 'none' ? 'lm_nobody' : `lm_${source}_${stored}`;
}

const PLAIN_ASK: Ask = {
  sslmode: 'disable',
  isDirect: false,
  host: 'localhost',
  trusts: 'authority',
  certificate: 'none',
  channelBinding: 'prefer',
};

const ASKS: readonly (readonly [string, Partial<Ask>])[] = [
  ['the unix socket', { host: 'unix', sslmode: 'prefer' }],
  ['the unix socket, bound', { host: 'unix', channelBinding: 'require' }],
  ['disable', {}],
  ['disable, unbound', { channelBinding: 'disable' }],
  ['allow', { sslmode: 'allow' }],
  ['prefer', { sslmode: 'prefer' }],
  ['prefer, bound', { sslmode: 'prefer', channelBinding: 'require' }],
  ['require', { sslmode: 'require' }],
  ['require, unbound', { sslmode: 'require', channelBinding: 'disable' }],
  ['require, own certificate', { sslmode: 'require', certificate: 'own' }],
  ['require, another certificate', { sslmode: 'require', certificate: 'another' }],
  ["require, stranger's certificate", { sslmode: 'require', certificate: 'stranger' }],
  ['require, own certificate, bound', { sslmode: 'require', certificate: 'own', channelBinding: 'require' }],
  ['verify-ca', { sslmode: 'verify-ca', certificate: 'own' }],
  ['verify-ca of another authority', { sslmode: 'verify-ca', certificate: 'own', trusts: 'other' }],
  ['verify-ca of another host', { sslmode: 'verify-ca', certificate: 'own', host: 'other' }],
  ['verify-full', { sslmode: 'verify-full', certificate: 'own' }],
  ['verify-full of another host', { sslmode: 'verify-full', certificate: 'own', host: 'other' }],
  ['verify-full, bound', { sslmode: 'verify-full', certificate: 'own', channelBinding: 'require' }],
  ['direct', { sslmode: 'require', isDirect: true }],
  ['direct, own certificate', { sslmode: 'verify-full', isDirect: true, certificate: 'own' }],
];

const HBA_METHODS: readonly Method[] = [
  'trust',
  'password',
  'md5',
  'scram-sha-256',
  'cert',
  'cert map',
  'peer',
  'peer map',
  'reject',
  'hostssl',
  'hostnossl',
  'none',
];

/** By `auth_type`. */
const GLOBAL_METHODS: Readonly<Record<string, Method>> = {
  any: 'any',
  trust: 'trust',
  plain: 'password',
  md5: 'md5',
  'scram-sha-256': 'scram-sha-256',
  cert: 'cert',
  ldap: 'ldap',
};

const FASHIONS = ['plain', 'scram', 'md5'] as const;

/** The whole product, for these clients. */
export function allClientCases(having: {
  readonly hasLdap: boolean;
  readonly clients: readonly ClientName[];
}): Product<PlannedCase> {
  const settings = TLS_MODES.flatMap((mode): TlsSetting[] => {
    if (mode === 'disable') return [{ mode, hasCa: false }];
    const withCa = { mode, hasCa: true };
    return mode.startsWith('verify') ? [withCa] : [{ mode, hasCa: false }, withCa];
  });
  const plans = settings.flatMap((tls, i) =>
    [...Object.keys(GLOBAL_METHODS), 'hba']
      .filter((authType) => authType !== 'cert' || tls.mode === 'verify-full')
      .filter((authType) => authType !== 'ldap' || having.hasLdap)
      .map((authType, j): ClientPlan => {
        const method = GLOBAL_METHODS[authType];
        const fashion = FASHIONS[(i + j) % FASHIONS.length] ?? 'plain';
        return {
          title: `auth_type ${authType}, client_tls_sslmode ${tls.mode}${tls.hasCa ? ' and an authority' : ''}, most secrets ${fashion}`,
          tls,
          authType,
          methods:
            method !== undefined ? [method] : [...HBA_METHODS, ...(having.hasLdap ? ['ldap' as const] : [])],
          fashion,
        };
      }),
  );
  const cases = plans.flatMap((plan) =>
    plan.methods.flatMap((method) => casesOf(plan, method, having.clients)),
  );
  return {
    cases,
    keysOf,
    cellOf: ({ plan, client, title }) => `${plan.title} ${title.replace(client, '')}`,
    sortOf: (one) => `${one.client} ${expectedOf(one, one.database).kind}`,
  };
}

function keysOf(one: PlannedCase): readonly string[] {
  const { plan, tls, method, source, stored, credential, where, askName, client } = one;
  const program = client === 'pg' ? 'pg' : 'psql';
  const expected = expectedOf(one, one.database);
  const { kind } = expected;
  // On a connection where it comes to that, encrypted and not, and on one where it does not.
  const how = expected.kind === 'in' ? expected.isEncrypted : 'out';
  return [
    // What is proved; by psql in short runs, a process each time, wherever the secret is from.
    [
      method,
      program === 'pg' || isFull ? source : '',
      stored,
      credential,
      where,
      one.isOsUser,
      program,
      how,
    ].join(),
    ...(isFull
      ? [[method, source, stored, credential, where, one.isOsUser, program, how, tls.mode, tls.hasCa].join()]
      : []),
    // Which connection it is.
    [tls.mode, tls.hasCa, askName, program, kind === 'in'].join(),
    [plan.authType, method, tls.mode].join(),
    [client, askName, kind].join(),
  ];
}

function casesOf(plan: ClientPlan, method: Method, clients: readonly ClientName[]): PlannedCase[] {
  return whoOf(method).flatMap(({ source, stored, user, isOsUser = false, where }) =>
    (['right', 'wrong', 'empty'] as const).flatMap((credential) =>
      ASKS.flatMap(([askName, part]) => {
        const ask = { ...PLAIN_ASK, ...part };
        return clients
          .filter((client) => isPossible(client, ask, credential))
          .map((client): PlannedCase => {
            const place = where !== 'there' ? where : source === 'auth_file' ? 'file' : 'query';
            return {
              title: `${user} (${stored}, ${source}) asks ${askName} by ${method} with a ${credential} password, database ${where}, ${client}`,
              plan,
              askName,
              tls: plan.tls,
              method,
              source,
              stored,
              user,
              credential,
              isHba: plan.authType === 'hba',
              where,
              isOsUser,
              fashion: plan.fashion,
              ask,
              client,
              database: `${slug(method)}.${place}`,
            };
          });
      }),
    ),
  );
}

function isPossible(client: ClientName, ask: Ask, credential: string): boolean {
  if (client === 'pg') return isForPg(ask);
  // psql would ask for one.
  if (credential === 'empty') return false;
  // From PostgreSQL 17 on.
  return client !== 'psql' || !ask.isDirect;
}

interface Who {
  readonly source: Source;
  readonly stored: Stored;
  readonly user: string;
  readonly isOsUser?: boolean;
  readonly where: ClientCase['where'];
}

/** Who tries to get in by a method, and where. */
function whoOf(method: Method): Who[] {
  if (method === 'ldap') {
    return [
      { source: 'auth_file', stored: 'plain', user: 'la_user', where: 'there' },
      { source: 'auth_file', stored: 'none', user: 'la_nobody', where: 'there' },
    ];
  }
  const all = (['auth_file', 'auth_query'] as const).flatMap((source) =>
    STORED.map((stored): Who => ({ source, stored, user: userOf(source, stored), where: 'there' })),
  );
  const known: Who = {
    source: 'auth_file',
    stored: 'plain',
    user: userOf('auth_file', 'plain'),
    where: 'nowhere',
  };
  const unknown: Who = { ...known, stored: 'none', user: userOf('auth_file', 'none') };
  if (method === 'any') all.push({ ...known, where: 'unforced' });
  if (method.startsWith('peer')) {
    all.push({ ...known, stored: 'empty', user: OWN, isOsUser: true, where: 'there' });
  }
  return [...all, known, unknown];
}
