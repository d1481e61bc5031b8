import type { Findings } from './finding.ts';
import type { ServerCapacity } from './capacity.ts';

/** What a server says of itself, or what is assumed of it. */
export interface ServerLimits {
  readonly maxConnections: number;
  /** Kept for superusers and holders of pg_use_reserved_connections. */
  readonly reserved: number;
  /** `CONNECTION LIMIT` of a role, by name; -1 and missing: none. */
  readonly roleLimits: ReadonlyMap<string, number>;
  /** Of a database of PostgreSQL's, likewise. */
  readonly databaseLimits: ReadonlyMap<string, number>;
}

/** PostgreSQL as it is installed. Source: manual, `runtime-config-connection`. */
export const USUAL_LIMITS: ServerLimits = {
  maxConnections: 100,
  reserved: 3,
  roleLimits: new Map(),
  databaseLimits: new Map(),
};

const count = (n: number): string => (n === Number.POSITIVE_INFINITY ? 'any number of' : `${n}`);

/** How the connections of a server come about, by entry: `app 2 × 25, web 20`. */
function parts({ entries }: ServerCapacity): string {
  const shown = entries.map(({ name, users, connections }) => {
    const total = connections === Number.POSITIVE_INFINITY ? 'not bounded' : `${connections}`;
    return users.length > 1 ? `${name} ${total} (${users.length} users)` : `${name} ${total}`;
  });
  const most = 8;
  return shown.length > most
    ? `${shown.slice(0, most).join(', ')} and ${shown.length - most} more`
    : shown.join(', ');
}

/**
 * Whether `instances` processes with this capacity fit into a server. `limits` null: it was not asked, so what is usual is
 * taken for it, and that it does not fit is not certain.
 */
export function checkCapacity(
  findings: Findings,
  capacity: ServerCapacity,
  instances: number,
  limits: ServerLimits | null,
): void {
  const { maxConnections, reserved } = limits ?? USUAL_LIMITS;
  const free = maxConnections - reserved;
  const { server, connections } = capacity;
  const all = connections * instances;
  const asked =
    instances === 1
      ? `pools can come to ${count(connections)} server connections`
      : `${instances} instances can come to ${count(all)} server connections (${count(connections)} each)`;
  const has = `max_connections=${maxConnections} less ${reserved} reserved`;
  const text = `${server}: ${asked} (${parts(capacity)})`;
  if (all > free) {
    const share = Math.floor(free / instances);
    const advice = `at most ${share} per instance fit: lower the pool sizes, or set max_db_connections`;
    if (limits !== null)
      findings.add('error', 'capacity', server, `${text}; the server has ${has}; ${advice}`);
    else {
      const usual = `PostgreSQL's usual ${has} would not do (--connect asks the server); ${advice}`;
      findings.add('warning', 'capacity', server, `${text}; ${usual}`);
    }
  } else {
    const fits = limits === null ? `fits PostgreSQL's usual ${has}` : `the server has ${has}`;
    findings.add('note', 'capacity', server, `${text}; ${fits}`);
  }
  if (limits !== null) checkOwnLimits(findings, capacity, instances, limits);
}

/** `CONNECTION LIMIT` of databases and roles. */
function checkOwnLimits(
  findings: Findings,
  { server, byDatabase, byUser }: ServerCapacity,
  instances: number,
  { databaseLimits, roleLimits }: ServerLimits,
): void {
  const check = (
    subject: string,
    connections: number,
    limit: number | undefined,
    names: string[] = [],
  ): void => {
    const all = connections * instances;
    if (limit === undefined || limit < 0 || all <= limit) return;
    const together = names.length > 1 ? `${names.join(', ')} together ` : '';
    const text = `${together}can come to ${count(all)} server connections, its CONNECTION LIMIT on ${server} is ${limit}`;
    findings.add('error', 'capacity', subject, text);
  };
  for (const [dbname, { names, connections }] of byDatabase) {
    check(`[databases] ${names[0]}`, connections, databaseLimits.get(dbname), [...names]);
  }
  for (const [user, connections] of byUser) check(`user ${user}`, connections, roleLimits.get(user));
}
