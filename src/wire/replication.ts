/** What a client has its server connection for: SQL alone, or replication of one database's changes or of the WAL. */
export type Replication = 'none' | 'logical' | 'physical';

/** Values that ask for physical replication, beside prefixes of these (not of `on`). */
const PHYSICAL = ['true', 'yes', 'on', '1'];

/**
 * What the start-up parameter `replication` asks for; a value that PostgreSQL would refuse asks for nothing.
 * Source: manual, `protocol-replication`; contract, §6.1.
 */
export function replicationOf(value: string): Replication {
  if (value === 'database') return 'logical';
  const text = value.toLowerCase();
  const isPhysical = text !== '' && text !== 'o' && PHYSICAL.some((word) => word.startsWith(text));
  return isPhysical ? 'physical' : 'none';
}

/** The parameter's value for a server. */
export function replicationValue(replication: Exclude<Replication, 'none'>): string {
  return replication === 'logical' ? 'database' : 'true';
}
