import { networkInterfaces } from 'node:os';
import type { LoginApplicant } from '../auth/login-exchange.ts';
import type { LoginRule } from '../auth/login-rule.ts';
import type { LookupAsker } from '../auth/secret-lookups.ts';
import {
  findHbaRule,
  type HbaApplicant,
  isQuestion,
  type LoginQuestion,
  type Verdict,
} from '../config/hba-match.ts';
import type { HbaRule } from '../config/hba.ts';
import { identFits } from '../config/ident-match.ts';
import { type IpBytes, parseIp, sameNetwork } from '../config/ip-address.ts';
import { HostNames } from '../net/host-names.ts';
import type { Native } from '../net/native.ts';
import type { AuthQueries } from './auth-queries.ts';
import type { PoolerState } from './context.ts';

/**
 * Whether a user is a member of a role, by whatever way; a superuser is one only of those that it was made one of, as in
 * PostgreSQL's own HBA file.
 */
const MEMBER_SQL =
  'WITH RECURSIVE roles(oid) AS (' +
  'SELECT oid FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) $1' +
  ' UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m, roles r WHERE m.member OPERATOR(pg_catalog.=) r.oid)' +
  ' SELECT 1 FROM roles r JOIN pg_catalog.pg_roles g ON g.oid OPERATOR(pg_catalog.=) r.oid' +
  ' WHERE g.rolname OPERATOR(pg_catalog.=) $2';

/** Who wants to log in, and whether that is still so. */
interface Asking {
  readonly applicant: LoginApplicant;
  readonly asker: LookupAsker;
  /** Writes to the log, with the client's name. */
  warn(text: string): void;
}

/** By which rule logins are decided, with what has to be asked for that. */
export class DaemonLoginRules {
  readonly #state: PoolerState;
  readonly #queries: AuthQueries;
  readonly #native: Native;
  readonly #hosts: HostNames;

  constructor(
    state: PoolerState,
    queries: AuthQueries,
    native: Native,
    hosts: HostNames = new HostNames(state.clock),
  ) {
    this.#state = state;
    this.#queries = queries;
    this.#native = native;
    this.#hosts = hosts;
  }

  /** Called a few times a second. */
  sweep(): void {
    this.#hosts.sweep();
  }

  /** The rule for the applicant; null: there is none. Nothing is asked for one who has left. Never rejects. */
  find(who: Asking): LoginRule | null | Promise<LoginRule | null> {
    const { settings, login } = this.#state.config;
    const { auth_type: method } = settings;
    const { applicant } = who;
    if (method !== 'hba') return { method, map: null, ldap: login.ldap, key: 'auth_type' };
    // A zone, as addresses of one link have it, says which of our own interfaces it came by: no rule names one.
    const ip = applicant.ip === null ? null : parseIp(applicant.ip.replace(/%.*$/, ''));
    if (ip === null && applicant.ip !== null) return null;
    const fitting: HbaApplicant = {
      database: applicant.database,
      user: applicant.user,
      replication: applicant.replication,
      ip,
      isTls: applicant.tls !== null,
      isOwn: (what) => ip !== null && isOwnAddress(ip, what),
    };
    const answers = new Map<string, boolean | null>();
    const found = this.#settle(who, answers, () => findHbaRule(login.hba ?? [], fitting, answers));
    return found instanceof Promise ? found.then(loginRule) : loginRule(found);
  }

  /** Whether a certificate or the system proves a name that may log in as the applicant's by `rule`. */
  isProven(who: Asking, rule: LoginRule): boolean | Promise<boolean> {
    const { applicant } = who;
    const names = rule.method === 'peer' ? this.#systemNames(applicant) : certificateNames(applicant);
    if (names.length === 0) return false;
    const answers = new Map<string, boolean | null>();
    const fits = (): Verdict => identFits(rule.map, names, applicant.user, answers);
    const found = this.#settle(who, answers, fits);
    return found instanceof Promise ? found.then((verdict) => verdict === true) : found === true;
  }

  #systemNames({ peerUid }: LoginApplicant): string[] {
    const name = peerUid === null ? null : this.#native.userName(peerUid);
    return name === null ? [] : [name];
  }

  /** What `decide` comes to once all that it asks for is answered. */
  #settle<T extends object | boolean | null>(
    who: Asking,
    answers: Map<string, boolean | null>,
    decide: () => T | LoginQuestion,
  ): T | Promise<T> {
    const first = decide();
    return isQuestion(first) ? this.#askOn(first, who, answers, decide) : first;
  }

  async #askOn<T extends object | boolean | null>(
    first: LoginQuestion,
    who: Asking,
    answers: Map<string, boolean | null>,
    decide: () => T | LoginQuestion,
  ): Promise<T> {
    let found: T | LoginQuestion = first;
    while (isQuestion(found)) {
      answers.set(found.key, await this.#answer(found, who));
      found = decide();
    }
    return found;
  }

  async #answer({ kind, name }: LoginQuestion, { applicant, asker, warn }: Asking): Promise<boolean | null> {
    if (kind === 'host') {
      const ip = applicant.ip?.replace(/^::ffff:(?=\d+\.)/i, '') ?? '';
      const answer = await this.#hosts.isHost(ip, name, () => !asker.isAbandoned);
      if (answer === null && !asker.isAbandoned) warn(`cannot tell whether ${ip} is a host of ${name}`);
      return answer;
    }
    const target = this.#queries.targetFor(applicant.database);
    if (target === null || 'message' in target) return null;
    const outcome = await this.#queries.ask(target, {
      sql: MEMBER_SQL,
      parameters: [applicant.user, name],
      isWanted: () => !asker.isAbandoned,
    });
    if ('error' in outcome || outcome.answer.error !== null) return null;
    return outcome.answer.row !== null;
  }
}

function loginRule(rule: HbaRule | null): LoginRule | null {
  if (rule === null) return null;
  const { method, map, ldap, at } = rule;
  return { method, map, ldap, key: `${at.file}:${at.line}` };
}

/** The names that a client's certificate is for. Wildcards are for hosts: here they are names like any other. */
function certificateNames({ tls }: LoginApplicant): string[] {
  const certificate = tls?.peerCertificate ?? null;
  if (certificate === null) return [];
  const { commonName, altNames } = certificate;
  return commonName === null || commonName === '' ? [...altNames] : [...altNames, commonName];
}

function isOwnAddress(ip: IpBytes, what: 'host' | 'net'): boolean {
  return Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some(({ address, netmask }) => {
      const own = parseIp(address.replace(/%.*$/, ''));
      const mask = parseIp(what === 'host' ? address.replace(/%.*$/, '') : netmask);
      if (own === null || mask === null) return false;
      return sameNetwork(ip, own, what === 'host' ? own.map(() => 0xff) : mask);
    }),
  );
}
