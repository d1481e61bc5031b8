import { classifySecret } from '../auth/secret.ts';
import type { Config } from '../config/config.ts';
import { TlsContexts } from '../tls/contexts.ts';
import { type ServerCapacity, poolUsers } from './capacity.ts';
import { ANY_DATABASE, entriesOf } from './entries.ts';
import type { ServerLimits } from './capacity-rules.ts';
import { type Asker, askServer, type Rows } from '../server/question.ts';

/** Limits of the server, of its roles and of its databases, in rows of kind, name and number. */
const SQL = `SELECT 'server', name, setting FROM pg_catalog.pg_settings
  WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
UNION ALL SELECT 'role', rolname, rolconnlimit::text FROM pg_catalog.pg_roles WHERE rolconnlimit >= 0 AND NOT rolsuper
UNION ALL SELECT 'database', datname, datconnlimit::text FROM pg_catalog.pg_database WHERE datconnlimit >= 0`;

/** So many ways to log in are tried. */
const MOST_ASKERS = 4;

/** Asks a server for its limits, as the first user that it lets in. Rejects with why that is nobody. */
export async function askLimits(config: Config, capacity: ServerCapacity): Promise<ServerLimits> {
  const { host, port } = capacity;
  const askers = askersOf(config, capacity);
  const timeoutMs = config.settings.server_connect_timeout * 1000 || 15_000;
  const tls = new TlsContexts();
  tls.use(tls.prepare(config.settings));
  let failure = 'no user whose password is known could ask it';
  for (const asker of askers) {
    try {
      return limitsOf(await askServer({ host, port }, asker, SQL, { tls: tls.server, timeoutMs }));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      failure = `cannot log in to database ${asker.database} as ${asker.user}: ${why}`;
    }
  }
  throw new Error(failure);
}

/** Those who can answer whatever the server asks come first. */
function askersOf(config: Config, { entries }: ServerCapacity): Asker[] {
  const known: Asker[] = [];
  const others: Asker[] = [];
  const names = new Set(entries.map(({ name }) => name));
  for (const entry of entriesOf(config).filter(({ name }) => names.has(name))) {
    for (const user of poolUsers(config, entry)) {
      const own = entry.user === user ? entry.password : null;
      const secretText = own ?? config.userlist.get(user) ?? null;
      const asker = {
        user,
        // Each server has this one, unless somebody has dropped it.
        database: entry.dbname === ANY_DATABASE ? 'postgres' : entry.dbname,
        credentials: { secretText, scramKeys: null },
        applicationName: 'pgweir check',
      };
      const isPlain = secretText !== null && secretText !== '' && classifySecret(secretText).kind === 'plain';
      (isPlain ? known : others).push(asker);
    }
  }
  return [...known, ...others].slice(0, MOST_ASKERS);
}

function limitsOf(rows: Rows): ServerLimits {
  const of = (kind: string) =>
    new Map(rows.filter(([its]) => its === kind).map(([, name, value]) => [name as string, Number(value)]));
  const server = of('server');
  const number = (name: string) => server.get(name) ?? 0;
  return {
    maxConnections: number('max_connections'),
    // The latter from PostgreSQL 16 on.
    reserved: number('superuser_reserved_connections') + number('reserved_connections'),
    roleLimits: of('role'),
    databaseLimits: of('database'),
  };
}
