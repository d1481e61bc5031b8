import { resolveSrv } from 'node:dns/promises';
import { Turns } from '../base/turns.ts';
import type { LdapOptions } from '../config/ldap-options.ts';
import { LdapConnection, type LdapServer } from './ldap-connection.ts';
import { bindNameOf, domainOf, isSearchable, searchFilterOf } from './ldap-names.ts';

/** How long a server may take to connect, and to answer. Source: PgBouncer's network timeout for LDAP. */
const TIMEOUT_MS = 3000;
/** Logins that are checked at a time. */
const MAX_RUNNING = 8;

/** The server said no. Everything else lets the next server be asked. */
class Refused extends Error {
  override readonly name = 'Refused';
}

/**
 * Checks passwords with LDAP servers, a few at a time and first come, first served: the others wait without keeping
 * anything from going on. Source: contract, §2.8; manual, `auth-ldap`.
 */
export class LdapClient {
  readonly #turns = new Turns(MAX_RUNNING);

  /** Called a few times a second: the password of whoever has left goes. */
  sweep(): void {
    this.#turns.sweep();
  }

  /** See {@link LdapCheck}. */
  async check(
    options: LdapOptions,
    user: string,
    password: string,
    isWanted: () => boolean,
  ): Promise<string | null> {
    if (options.baseDn !== null && !isSearchable(user))
      return 'the user name has characters that are not searched for';
    try {
      return await this.#turns.take({
        isWanted,
        work: () => askServers(options, user, password),
        unwanted: () => 'nobody waits for the answer any more',
      });
    } catch (error) {
      return `LDAP: ${textOf(error)}`;
    }
  }
}

async function askServers(options: LdapOptions, user: string, password: string): Promise<string | null> {
  const problems: string[] = [];
  for (const server of await serversOf(options)) {
    try {
      await askServer(options, server, user, password);
      return null;
    } catch (error) {
      if (error instanceof Refused) return error.message;
      problems.push(`${server.host}: ${textOf(error)}`);
    }
  }
  return problems.length === 0 ? 'no LDAP server is known' : `no LDAP server answers: ${problems.join('; ')}`;
}

/** As configured, or by DNS from the base DN. */
async function serversOf({ servers, port, scheme, baseDn }: LdapOptions): Promise<LdapServer[]> {
  const usual = port ?? (scheme === 'ldaps' ? 636 : 389);
  if (servers.length > 0) return servers.map((host) => ({ host, port: usual }));
  const domain = domainOf(baseDn ?? '');
  if (domain === null) return [];
  const found = await resolveSrv(`_ldap._tcp.${domain}`);
  found.sort((a, b) => a.priority - b.priority || b.weight - a.weight);
  return found.map(({ name, port: at }) => ({ host: name, port: at }));
}

async function askServer(
  options: LdapOptions,
  server: LdapServer,
  user: string,
  password: string,
): Promise<void> {
  const connection = await LdapConnection.open(options, server, TIMEOUT_MS);
  try {
    const name =
      options.baseDn === null ? bindNameOf(options, user) : await search(connection, options, user);
    await bind(connection, name, password);
  } finally {
    connection.close();
  }
}

/** Requests are made by `ldapts`; loaded only where it is used: it takes memory and a moment. */
const ldapts = () => import('ldapts');

/** Numbers of the messages, in their order. */
const FIRST_BIND = 2;
const SEARCH = 3;
const LAST_BIND = 4;

/** The DN of the one entry of that name. */
async function search(connection: LdapConnection, options: LdapOptions, user: string): Promise<string> {
  const { baseDn, bindDn, bindPassword, scope } = options;
  if (bindDn !== '') {
    if (bindPassword === '') throw new Refused('ldapbinddn has no ldapbindpasswd');
    await bind(connection, bindDn, bindPassword, FIRST_BIND, 'ldapbinddn may not log in');
  }
  const { FilterParser, SearchRequest } = await ldapts();
  const request = new SearchRequest({
    messageId: SEARCH,
    baseDN: baseDn ?? '',
    scope,
    filter: FilterParser.parseString(searchFilterOf(options, user)),
    sizeLimit: 2,
    // No attributes, the entries' names alone.
    attributes: ['1.1'],
  });
  const { code, names } = await connection.ask(request.write());
  // By our limit or its own: who else is of that name it has not told.
  if (code === SIZE_LIMIT_EXCEEDED) throw new Refused('more entries for the user than one');
  check(code, 'the search for the user failed');
  const [name] = names;
  if (names.length !== 1 || name === undefined || name === '') {
    throw new Refused(`${names.length} entries for the user, not one`);
  }
  return name;
}

/** A bind without a name or a password is one as nobody, which servers let in. */
async function bind(
  connection: LdapConnection,
  dn: string,
  password: string,
  messageId = LAST_BIND,
  refusal = 'wrong password',
): Promise<void> {
  if (dn === '' || password === '') throw new Refused('no name to log in as');
  const { BindRequest } = await ldapts();
  const { code } = await connection.ask(new BindRequest({ messageId, dn, password }).write());
  check(code, refusal);
}

/** Codes of results. Source: RFC 4511, appendix A. */
const SIZE_LIMIT_EXCEEDED = 4;
const BUSY = 51;
const UNAVAILABLE = 52;

function check(code: number, refusal: string): void {
  if (code === 0) return;
  // Another server may do.
  if (code === BUSY || code === UNAVAILABLE) throw new Error(`busy or unavailable (${code})`);
  throw new Refused(`${refusal} (LDAP result ${code})`);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown error';
}
