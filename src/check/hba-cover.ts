import type { Settings } from '../config/settings.ts';
import type { HbaAddress, HbaName, HbaRule } from '../config/hba.ts';
import { matchName } from '../config/name-regex.ts';
import { covers } from './networks.ts';

/** Connections that a rule of a kind can be for: over the unix socket, encrypted, in the clear. */
export type Ways = Readonly<Record<'local' | 'encrypted' | 'clear', boolean>>;

/** The ways on which clients can come at all. Where nothing is listened on, sockets may be passed by systemd. */
export function openWays({ client_tls_sslmode }: Settings): Ways {
  return {
    local: true,
    encrypted: client_tls_sslmode !== 'disable',
    clear: ['disable', 'allow', 'prefer'].includes(client_tls_sslmode),
  };
}

/** Those of them that a rule is for. */
export function waysOf({ type }: HbaRule, open: Ways): Ways {
  return {
    local: open.local && type === 'local',
    encrypted: open.encrypted && (type === 'host' || type === 'hostssl'),
    clear: open.clear && (type === 'host' || type === 'hostnossl'),
  };
}

/**
 * Whether `first`, which comes before, fits everybody whom `later` fits, so that the latter never counts. False where that
 * cannot be told.
 */
export function isCovered(first: HbaRule, later: HbaRule, open: Ways): boolean {
  if (!addressCovered(first.address, later.address)) return false;
  const [wide, narrow] = [waysOf(first, open), waysOf(later, open)];
  const isFor = (['local', 'encrypted', 'clear'] as const).every((way) => wide[way] || !narrow[way]);
  if (!isFor) return false;
  // What nobody can tell fits a `reject` alone, so that one counts behind another rule for the same.
  const canTell = !isAsked(first) || first.method === 'reject' || later.method !== 'reject';
  return (
    canTell &&
    namesCovered(first.databases, later.databases, 'database') &&
    namesCovered(first.users, later.users, 'user')
  );
}

/** Whether somebody has to be asked whom the rule fits. */
function isAsked({ databases, users, address }: HbaRule): boolean {
  return (
    address?.kind === 'host' ||
    [...databases, ...users].some(({ kind }) => kind === 'role' || kind === 'sameRole')
  );
}

function namesCovered(
  wide: readonly HbaName[],
  narrow: readonly HbaName[],
  what: 'database' | 'user',
): boolean {
  return narrow.every((name) => wide.some((other) => nameCovered(other, name, what)));
}

function nameCovered(wide: HbaName, narrow: HbaName, what: 'database' | 'user'): boolean {
  // Physical replication is for rules that name it, and for no other.
  if (wide.kind === 'all') return what === 'user' || narrow.kind !== 'replication';
  if (wide.kind === 'regex') {
    if (narrow.kind === 'name') return matchName(wide.regex, narrow.name) !== null;
    return narrow.kind === 'regex' && narrow.regex.source === wide.regex.source;
  }
  if (wide.kind !== narrow.kind) return false;
  return !('name' in wide) || !('name' in narrow) || wide.name === narrow.name;
}

function addressCovered(wide: HbaAddress | null, narrow: HbaAddress | null): boolean {
  if (wide === null || narrow === null) return wide === narrow;
  if (wide.kind === 'all') return true;
  switch (narrow.kind) {
    case 'all':
      return false;
    case 'network':
      return wide.kind === 'network' && covers(wide, narrow);
    case 'host':
      return wide.kind === 'host' && wide.name === narrow.name;
    case 'sameNet':
      return wide.kind === 'sameNet';
    case 'sameHost':
      return wide.kind === 'sameHost' || wide.kind === 'sameNet';
  }
}
