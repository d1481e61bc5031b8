import type { Config } from '../config/config.ts';
import type { HbaName, HbaRule } from '../config/hba.ts';
import type { FindingCode, Findings, Level } from './finding.ts';
import { isCovered, openWays, type Ways, waysOf } from './hba-cover.ts';
import { type KnownUsers, someOf } from './known-users.ts';
import { checkLdap } from './ldap-rules.ts';
import { isPublic, reachOf } from './networks.ts';

/** So many rules are compared with those before them: each with each takes its time. */
const MOST_COMPARED = 2000;
/** Of so many users it is asked which rule is theirs. */
const MOST_USERS = 200;

const SUBJECT = 'auth_hba_file';

/** What of `auth_hba_file` lets in who should not, or never counts. Lines that make no sense are known by then. */
export function checkHba(findings: Findings, config: Config, users: KnownUsers): void {
  const { settings, login } = config;
  if (login.hba === null) {
    for (const name of ['auth_hba_file', 'auth_ident_file'] as const) {
      if ((settings[name] ?? '') === '') continue;
      findings.add('warning', 'no-effect', name, `is not read: auth_type is ${settings.auth_type}, not hba`);
    }
    return;
  }
  new HbaCheck(findings, config, login.hba, users).run();
}

class HbaCheck {
  readonly #findings: Findings;
  readonly #config: Config;
  readonly #rules: readonly HbaRule[];
  readonly #users: KnownUsers;
  readonly #open: Ways;
  readonly #isOpen: boolean;

  constructor(findings: Findings, config: Config, rules: readonly HbaRule[], users: KnownUsers) {
    this.#findings = findings;
    this.#config = config;
    this.#rules = rules;
    this.#users = users;
    this.#open = openWays(config.settings);
    this.#isOpen = config.settings.listen_addr.some(isPublic);
  }

  run(): void {
    let letsIn = false;
    for (const [index, rule] of this.#rules.entries()) {
      const never = this.#neverCounts(rule, index);
      if (never !== null) {
        this.#add('warning', 'never-matches', rule, never);
        continue;
      }
      letsIn ||= rule.method !== 'reject';
      this.#checkNames(rule);
      this.#checkMethod(rule);
      if (rule.method === 'scram-sha-256') this.#checkSecrets(rule, index);
    }
    // Lines that make no sense are left out here, and told: they may have been those.
    const isWhole = !this.#findings.all.some(
      ({ code, level }) => code === 'configuration' && level === 'error',
    );
    if (!letsIn && isWhole)
      this.#findings.add('error', 'nobody', SUBJECT, 'has no line that lets anybody in');
    if (this.#rules.length > MOST_COMPARED) {
      const text = `has more than ${MOST_COMPARED} lines: of those behind it is not told whether they ever count`;
      this.#findings.add('note', 'never-matches', SUBJECT, text);
    }
  }

  #add(level: Level, code: FindingCode, rule: HbaRule, text: string): void {
    this.#findings.add(level, code, SUBJECT, text, rule.at);
  }

  /** Why a rule decides about nobody, or lets nobody in where it should; null: it does. */
  #neverCounts(rule: HbaRule, index: number): string | null {
    const { client_tls_sslmode: mode, client_tls_ca_file: caFile } = this.#config.settings;
    const ways = waysOf(rule, this.#open);
    if (!Object.values(ways).includes(true)) return `${rule.type} never fits: client_tls_sslmode is ${mode}`;
    if (rule.method === 'peer' && rule.type !== 'local')
      return 'peer lets nobody in over TCP: it is for local lines';
    if (rule.method === 'cert') {
      if (!ways.encrypted) return `cert lets nobody in without TLS: ${this.#withoutTls(rule)}`;
      if (caFile === '' && !mode.startsWith('verify'))
        return 'cert lets nobody in: clients are asked for a certificate only with client_tls_ca_file';
    }
    if (index >= MOST_COMPARED) return null;
    const first = this.#rules.slice(0, index).find((earlier) => isCovered(earlier, rule, this.#open));
    if (first === undefined) return null;
    const { file, line } = first.at;
    const place = file === rule.at.file ? `line ${line}` : `${file}:${line}`;
    return `never counts: ${place} (${first.method}) comes first and is for all of these logins`;
  }

  #withoutTls({ type }: HbaRule): string {
    return type === 'host'
      ? 'client_tls_sslmode is disable'
      : `${type} lines are for connections that have none`;
  }

  #checkNames(rule: HbaRule): void {
    const { databases, autoDatabase } = this.#config;
    // To reject names that are not there is no mistake.
    const level = rule.method === 'reject' ? 'note' : 'warning';
    if (autoDatabase === null) {
      const missing = namesOf(rule.databases).filter((name) => name !== 'pgbouncer' && !databases.has(name));
      if (missing.length > 0)
        this.#add(level, 'unknown-database', rule, `not in [databases]: ${someOf(missing)}`);
    }
    if (rule.method === 'ldap') return;
    const missing = namesOf(rule.users).filter((name) => name !== 'pgbouncer' && !this.#users.has(name));
    if (missing.length > 0)
      this.#add(level, 'unknown-user', rule, `not in auth_file, so they cannot log in: ${someOf(missing)}`);
  }

  #checkMethod(rule: HbaRule): void {
    const reach = reachOf(rule.address);
    const { ldap, method } = rule;
    if (ldap !== null) checkLdap(this.#findings, ldap, SUBJECT, rule.at);
    if (reach === 'machine') return;
    const from = reach === 'public' ? 'public addresses' : 'other machines';
    const isClear = waysOf(rule, this.#open).clear;
    switch (method) {
      case 'trust':
        this.#checkTrust(rule, reach, from);
        return;
      case 'plain':
      case 'ldap':
        if (isClear && this.#isOpen) {
          const text = `${method === 'plain' ? 'password' : method} sends passwords in clear text from ${from}`;
          this.#add('warning', 'cleartext', rule, `${text}: use hostssl`);
        }
        return;
      case 'md5':
        if (isClear && this.#isOpen && this.#users.hasMd5Exchanges) {
          const text = 'an MD5 exchange that is overheard can be used to log in; scram-sha-256 cannot';
          this.#add('note', 'md5', rule, text);
        }
        return;
    }
  }

  #checkTrust(rule: HbaRule, reach: 'private' | 'public', from: string): void {
    const { listen_addr, client_tls_sslmode } = this.#config.settings;
    const text = `trust asks for no password from ${from}`;
    if (!this.#isOpen) {
      this.#add('note', 'trust', rule, `${text}; listen_addr lets none of them connect`);
    } else if (client_tls_sslmode.startsWith('verify')) {
      this.#add('warning', 'trust', rule, `${text}: whoever has any valid certificate is whoever they say`);
    } else {
      const listening = listen_addr.filter(isPublic).join(', ');
      this.#add(
        reach === 'public' ? 'error' : 'warning',
        'trust',
        rule,
        `${text}, and listen_addr is ${listening}`,
      );
    }
  }

  /** Users whose secret is of a kind that the rule cannot go by, and whom none before is for. */
  #checkSecrets(rule: HbaRule, index: number): void {
    const refused = this.#users.withMd5.slice(0, MOST_USERS).filter((user) => {
      const narrowed = { ...rule, users: [{ kind: 'name' as const, name: user }] };
      const isTheirs = isCovered({ ...rule, method: 'reject' }, narrowed, this.#open);
      return isTheirs && !this.#rules.slice(0, index).some((first) => isCovered(first, narrowed, this.#open));
    });
    if (refused.length === 0) return;
    const text = `scram-sha-256 cannot go by MD5 secrets, so these users cannot log in: ${someOf(refused)}`;
    this.#add('warning', 'secret-kind', rule, text);
  }
}

function namesOf(names: readonly HbaName[]): string[] {
  return names.flatMap((name) => (name.kind === 'name' ? [name.name] : []));
}
