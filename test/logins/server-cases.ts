import type { ClientName } from './clients.ts';
import { TLS_MODES } from './client-table.ts';
import { isFull } from '../support/effort.ts';
import type { Product } from './matrix.ts';
import {
  type Asked,
  isLetIn,
  type Kept,
  type Origin,
  type ProvenBy,
  type ServerCase,
  serverExpectedOf,
  type ServerTlsSetting,
} from './server-table.ts';

/** One pooler of the matrix. */
export interface ServerPlan {
  readonly title: string;
  readonly tls: ServerTlsSetting;
}

/** A cell, and the login that shows it. */
export interface PlannedServerCase extends ServerCase {
  readonly title: string;
  readonly plan: ServerPlan;
  /** Who we are on the server. */
  readonly role: string;
  readonly client: ClientName;
}

export const ASKED: readonly Asked[] = [
  'trust',
  'password',
  'md5',
  'md5 of scram',
  'scram-sha-256',
  'cert',
  'reject',
  'hostssl',
  'hostnossl',
];

const KEPT: Readonly<Record<Origin, readonly Kept[]>> = {
  entry: ['plain', 'md5', 'scram'],
  forced: ['plain', 'md5', 'scram', 'empty', 'none'],
  auth_file: ['plain', 'md5', 'scram', 'empty'],
  auth_query: ['plain', 'md5', 'scram', 'empty'],
};

/** The role whose certificate we have. */
export const CERT_ROLE = 'sl_cert';

/** What PostgreSQL asks a role, whose secret we have from somewhere, in some form, right or wrong. */
export interface Role {
  readonly name: string;
  readonly asked: Asked;
  readonly origin: Origin;
  readonly kept: Kept;
  readonly isRight: boolean;
}

/** All roles. */
export const ROLES: readonly Role[] = ASKED.flatMap((asked) =>
  (['entry', 'forced', 'auth_file', 'auth_query'] as const).flatMap((origin) =>
    KEPT[origin].flatMap((kept) =>
      [true, false]
        .filter((isRight) => isRight || (kept !== 'empty' && kept !== 'none'))
        .filter((isRight) => asked !== 'cert' || (origin === 'auth_file' && kept === 'plain' && isRight))
        .map((isRight): Role => {
          const name = `sl_${asked.replaceAll(/\W/g, '_')}_${origin}_${kept}_${isRight ? 'right' : 'wrong'}`;
          return { name: asked === 'cert' ? CERT_ROLE : name, asked, origin, kept, isRight };
        }),
    ),
  ),
);

const PROVEN_BY: readonly ProvenBy[] = ['trust', 'password', 'md5', 'scram-sha-256'];

/** The whole product, for these clients. */
export function allServerCases(clients: readonly ClientName[]): Product<PlannedServerCase> {
  const settings = TLS_MODES.flatMap((mode): ServerTlsSetting[] => {
    if (mode === 'disable') return [{ mode, trusts: 'authority', hasCertificate: false }];
    return (['authority', 'other'] as const).flatMap((trusts) =>
      [true, false].map((hasCertificate) => ({ mode, trusts, hasCertificate })),
    );
  });
  const cases = settings.flatMap((tls) => {
    const plan = {
      title: `server_tls_sslmode ${tls.mode}, trusting ${tls.trusts === 'authority' ? 'its' : 'another'} authority${tls.hasCertificate ? ', with a certificate' : ''}`,
      tls,
    };
    return casesOf(plan, clients);
  });
  return {
    cases,
    keysOf,
    cellOf: (one) => {
      // Each takes as long as a timeout, and shows no more than that.
      if (!isReached(one)) return keysOf(one).join();
      return `${one.plan.title} ${one.title.replace(one.client, '')}`;
    },
    sortOf: (one) => `${programOf(one)} ${serverExpectedOf(one, one.role, one.client === 'pg').kind}`,
  };
}

function isReached(one: PlannedServerCase): boolean {
  return serverExpectedOf(one, one.role, true).kind !== 'unreachable';
}

const programOf = ({ client }: PlannedServerCase) => (client === 'pg' ? 'pg' : 'psql');

function keysOf(one: PlannedServerCase): readonly string[] {
  const { tls, asked, origin, kept, isRight, provenBy, isTlsServer, host } = one;
  const program = programOf(one);
  const isDone = serverExpectedOf(one, one.role, true).kind === 'in';
  const way = [tls.mode, tls.trusts, tls.hasCertificate, isTlsServer, host];
  if (!isReached(one)) return [way.join()];
  return [
    // With which secret, whichever way; by psql in short runs, a process each time, wherever it is from.
    [
      asked,
      program === 'pg' || isFull ? origin : '',
      kept,
      isRight,
      program,
      isDone,
      program === 'pg' ? provenBy : '',
    ].join(),
    // Which way, with whatever secret.
    [...way, isDone].join(),
    [asked, tls.mode, isTlsServer, host === 'unix', tls.hasCertificate, isDone].join(),
    ...(isFull ? [[asked, origin, kept, isRight, program, isDone, tls.mode, isTlsServer].join()] : []),
  ];
}

function casesOf(plan: ServerPlan, clients: readonly ClientName[]): PlannedServerCase[] {
  return ROLES.flatMap((role) =>
    PROVEN_BY.filter((provenBy) => isLetIn({ ...role, provenBy })).flatMap((provenBy) =>
      [true, false].flatMap((isTlsServer) =>
        (['localhost', 'other', 'unix'] as const).flatMap((host) =>
          clients.map((client): PlannedServerCase => {
            const server = `${isTlsServer ? 'TLS' : 'clear'} server at ${host}`;
            const { asked, origin, kept, isRight, name } = role;
            return {
              title: `${server} asks ${name} for ${asked}: ${origin} has ${kept}, ${isRight ? 'right' : 'wrong'}, client by ${provenBy}, ${client}`,
              plan,
              tls: plan.tls,
              isTlsServer,
              host,
              asked,
              origin,
              kept,
              isRight,
              provenBy,
              role: name,
              client,
            };
          }),
        ),
      ),
    ),
  );
}
