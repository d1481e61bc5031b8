import { readFileSync } from 'node:fs';
import { resolveSrv } from 'node:dns/promises';
import { connect as connectTcp, isIPv6 } from 'node:net';
import { type ConnectionOptions, connect as connectTls, getCACertificates } from 'node:tls';
import type { Client } from 'ldapts';
import type { LdapOptions } from '../config/ldap-options.ts';
import { bindNameOf, domainOf, isSearchable, searchFilterOf } from './ldap-names.ts';

/** How long a server may take to connect, and to answer. Source: PgBouncer's network timeout for LDAP. */
const TIMEOUT_MS = 3000;
/** Logins that are checked at a time. */
const MAX_RUNNING = 8;

/** The server said no. Everything else lets the next server be asked. */
class Refused extends Error {
  override readonly name = 'Refused';
}

interface Server {
  readonly host: string;
  readonly port: number;
}

/**
 * Checks passwords with LDAP servers, a few at a time and first come, first served: the others wait without keeping
 * anything from going on. Source: contract, §2.8; manual, `auth-ldap`.
 */
export class LdapClient {
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  /** See {@link LdapCheck}. */
  async check(
    options: LdapOptions,
    user: string,
    password: string,
    isWanted: () => boolean,
  ): Promise<string | null> {
    if (options.baseDn !== null && !isSearchable(user))
      return 'the user name has characters that are not searched for';
    if (this.#running >= MAX_RUNNING) await new Promise<void>((turn) => this.#waiting.push(turn));
    else this.#running++;
    try {
      return isWanted() ? await askServers(options, user, password) : 'nobody waits for the answer any more';
    } catch (error) {
      return `LDAP: ${textOf(error)}`;
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
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
async function serversOf({ servers, port, scheme, baseDn }: LdapOptions): Promise<Server[]> {
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
  server: Server,
  user: string,
  password: string,
): Promise<void> {
  const client = await open(options, server);
  try {
    if (options.startTls) await client.startTLS(tlsOptions(server.host));
    const name = options.baseDn === null ? bindNameOf(options, user) : await search(client, options, user);
    await bind(client, name, password);
  } finally {
    // Whatever comes of the goodbye.
    await client.unbind().catch(() => {});
  }
}

/** The DN of the one entry of that name. */
async function search(client: Client, options: LdapOptions, user: string): Promise<string> {
  const { baseDn, bindDn, bindPassword, scope } = options;
  if (bindDn !== '') {
    if (bindPassword === '') throw new Refused('ldapbinddn has no ldapbindpasswd');
    await bind(client, bindDn, bindPassword, 'ldapbinddn may not log in');
  }
  const filter = searchFilterOf(options, user);
  // "1.1": no attributes, the entries' names alone.
  const found = await client
    .search(baseDn ?? '', { scope, filter, sizeLimit: 2, attributes: ['1.1'] })
    .catch((error: unknown) => {
      if (isAnswer(error)) throw new Refused(`the search for the user failed: ${textOf(error)}`);
      throw error;
    });
  const [entry] = found.searchEntries;
  if (found.searchEntries.length !== 1 || entry === undefined || entry.dn === '') {
    throw new Refused(`${found.searchEntries.length} entries for the user, not one`);
  }
  return entry.dn;
}

/** A bind without a name or a password is one as nobody, which servers let in. */
async function bind(
  client: Client,
  name: string,
  password: string,
  refusal = 'wrong password',
): Promise<void> {
  if (name === '' || password === '') throw new Refused('no name to log in as');
  try {
    await client.bind(name, password);
  } catch (error) {
    if (isAnswer(error)) throw new Refused(`${refusal}: ${textOf(error)}`);
    throw error;
  }
}

async function open({ scheme }: LdapOptions, { host, port }: Server): Promise<Client> {
  // Only where it is used: it takes memory and a moment.
  const ldapts = await import('ldapts');
  let isOpened = false;
  // The library connects anew by itself where a server has hung up: then without TLS, or as nobody.
  const once = (): void => {
    if (isOpened) throw new Error('the LDAP server has closed the connection');
    isOpened = true;
  };
  return new ldapts.Client({
    url: `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    timeout: TIMEOUT_MS,
    connectTimeout: TIMEOUT_MS,
    strictDN: false,
    createConnection: ((...args: Parameters<typeof connectTcp>) => {
      once();
      return connectTcp(...args);
    }) as typeof connectTcp,
    ...(scheme === 'ldaps'
      ? {
          tlsOptions: tlsOptions(host),
          createSecureConnection: ((...args: Parameters<typeof connectTls>) => {
            once();
            return connectTls(...args);
          }) as typeof connectTls,
        }
      : {}),
  });
}

/** Certificates are verified by the system's authorities, and by those of `LDAPTLS_CACERT`, as OpenLDAP's programs do. */
function tlsOptions(host: string): ConnectionOptions {
  const own = process.env['LDAPTLS_CACERT'];
  const ca = [...getCACertificates('default'), ...getCACertificates('system')];
  if (own !== undefined && own !== '') ca.push(readFileSync(own, 'utf8'));
  return { ca, host, ...(isIPv6(host) || /^[\d.]+$/.test(host) ? {} : { servername: host }) };
}

/** The server has answered, with a code of LDAP's; all else is a failure to talk to it. */
function isAnswer(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'number') return false;
  // busy and unavailable: another server may do.
  return error.code > 0 && error.code !== 51 && error.code !== 52;
}

/** Servers' texts may quote what they were sent: the kind of error says enough. */
function textOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  return 'code' in error && typeof error.code === 'number' ? `${error.name} (${error.code})` : error.message;
}
