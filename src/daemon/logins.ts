import type { ClientAuthArgs, ClientAuthExchange } from '../auth/client-auth.ts';
import {
  type LoginApplicant,
  LoginExchange,
  type LoginSources,
  type StoredSecret,
} from '../auth/login-exchange.ts';
import { LdapClient } from '../auth/ldap-client.ts';
import type { FoundSecret, LookupAsker, LookupTarget } from '../auth/secret-lookups.ts';
import type { LogLevel } from '../base/log.ts';
import type { Native } from '../net/native.ts';
import type { AuthQueries } from './auth-queries.ts';
import type { PoolerState } from './context.ts';
import { DaemonLoginRules } from './login-rules.ts';

/** What all logins share: randomness, and the memories that keep PBKDF2 out of repeated ones. */
export type LoginTools = Pick<ClientAuthArgs, 'randomBytes' | 'mockSecret' | 'verifiers' | 'pbkdf2'>;

/** By which rules they are decided, too. */
export interface LoginParts extends LoginTools {
  readonly native: Native;
}

/** Begins logins by the configuration in force. */
export class Logins {
  readonly #state: PoolerState;
  readonly #queries: AuthQueries;
  readonly #tools: LoginTools;
  readonly #rules: DaemonLoginRules;
  readonly #ldap = new LdapClient();

  constructor(state: PoolerState, queries: AuthQueries, { native, ...tools }: LoginParts) {
    this.#state = state;
    this.#queries = queries;
    this.#tools = tools;
    this.#rules = new DaemonLoginRules(state, queries, native);
  }

  /** Called a few times a second. */
  sweep(): void {
    this.#queries.sweep();
    this.#rules.sweep();
    this.#ldap.sweep();
  }

  /** `note` writes to the log, with the client's name. */
  begin(applicant: LoginApplicant, note: (text: string, level?: LogLevel) => void): ClientAuthExchange {
    const warn = (text: string): void => note(text, 'WARNING');
    const { settings } = this.#state.config;
    const { scram_iterations: scramIterations } = settings;
    const sources: LoginSources = {
      args: {
        ...this.#tools,
        scramIterations,
        mock: (isScram) => this.#state.tally.profile(isScram, scramIterations),
      },
      ldap: (options, user, password, isWanted) => this.#ldap.check(options, user, password, isWanted),
      rule: (who, asker) => this.#rules.find({ applicant: who, asker, warn }),
      isProven: (who, rule, asker) => this.#rules.isProven({ applicant: who, asker, warn }, rule),
      secret: (who, asker) => this.#secret(who, asker),
      refresh: (who, asker) => this.#refresh(who, asker),
      isListed: (name) => this.#state.config.userlist.has(name),
      distrust: ({ database, user }) => {
        const target = this.#target(database);
        if (target !== null) this.#queries.lookups.distrust(target, user);
      },
      note,
    };
    return new LoginExchange(applicant, sources);
  }

  #secret({ database, user }: LoginApplicant, asker: LookupAsker): StoredSecret | Promise<StoredSecret> {
    const { userlist, users } = this.#state.config;
    const stored = userlist.get(user);
    // An empty one counts: a name that stands in the file is not looked up elsewhere.
    if (stored !== undefined) return { kind: 'stored', secret: stored };
    const target = this.#queries.targetFor(database);
    // A name in [users] alone is known, but nothing proves it.
    if (target === null) return users.has(user) ? { kind: 'stored', secret: '' } : { kind: 'unknown' };
    if ('message' in target)
      return { kind: 'queried', found: { kind: 'failed', error: target }, isCached: false };
    const result = this.#queries.lookups.find(target, user, asker);
    if (!(result instanceof Promise)) return { kind: 'queried', ...result };
    return result.then((later) => ({ kind: 'queried', ...later }));
  }

  #refresh({ database, user }: LoginApplicant, asker: LookupAsker): Promise<FoundSecret> {
    const target = this.#target(database);
    if (target === null) return Promise.resolve({ kind: 'none' });
    return this.#queries.lookups.refresh(target, user, asker);
  }

  /** As it is now, which a RELOAD may have changed since the login began. */
  #target(database: string): LookupTarget | null {
    const target = this.#queries.targetFor(database);
    return target === null || 'message' in target ? null : target;
  }
}
