import type { Replication } from '../wire/replication.ts';
import type { HbaAddress, HbaName, HbaRule } from './hba.ts';
import { type IpBytes, sameNetwork } from './ip-address.ts';
import { matchName } from './name-regex.ts';

/**
 * Something that a rule depends on and that has to be asked for: whether the user is a member of a role, whether the
 * client's address is that of a host name. `key` is the same for the same question.
 */
export interface LoginQuestion {
  readonly kind: 'member' | 'host';
  readonly key: string;
  readonly name: string;
}

/** Answers by the questions' keys; null: nobody could tell. */
export type LoginAnswers = ReadonlyMap<string, boolean | null>;

/** Who wants to log in, and where from. `ip` is null over a unix socket. */
export interface HbaApplicant {
  readonly database: string;
  readonly user: string;
  readonly replication: Replication;
  readonly ip: IpBytes | null;
  readonly isTls: boolean;
  /** Whether the address is one of this machine's own (`samehost`), or in one of its networks (`samenet`). */
  readonly isOwn: (what: 'host' | 'net') => boolean;
}

/** Null: nobody can tell. */
export type Verdict = boolean | null | LoginQuestion;

export function isQuestion(found: object | boolean | null): found is LoginQuestion {
  return typeof found === 'object' && found !== null && 'key' in found;
}

/**
 * The first rule that fits, or what has to be asked to find it; null: there is none. What nobody can tell lets nobody
 * in: such a rule does not fit, unless it is a `reject`.
 */
export function findHbaRule(
  rules: readonly HbaRule[],
  who: HbaApplicant,
  answers: LoginAnswers,
): HbaRule | LoginQuestion | null {
  for (const rule of rules) {
    const verdict = allOf(
      () => typeFits(rule, who),
      () => anyOf(rule.databases, (name) => databaseFits(name, who, answers)),
      () => anyOf(rule.users, (name) => userFits(name, who, answers)),
      // Last, for the names of hosts take longest.
      () => addressFits(rule.address, who, answers),
    );
    if (verdict === true || (verdict === null && rule.method === 'reject')) return rule;
    if (isQuestion(verdict)) return verdict;
  }
  return null;
}

/** Whether the user is a member of `role`. */
export function memberOf(role: string, answers: LoginAnswers): Verdict {
  return answerTo({ kind: 'member', key: `member ${role}`, name: role }, answers);
}

/** True where one is; else the first question; else null where one is. */
export function anyOf<T>(choices: readonly T[], fits: (choice: T) => Verdict): Verdict {
  let open: Verdict = false;
  for (const choice of choices) {
    const verdict = fits(choice);
    if (verdict === true) return true;
    if (!isQuestion(open) && verdict !== false) open = verdict;
  }
  return open;
}

/** False where one is; else the first question; else null where one is. Each is asked only if those before fit. */
function allOf(...parts: readonly (() => Verdict)[]): Verdict {
  let isOpen = false;
  for (const part of parts) {
    const verdict = part();
    if (verdict === false || isQuestion(verdict)) return verdict;
    isOpen ||= verdict === null;
  }
  return isOpen ? null : true;
}

function answerTo(question: LoginQuestion, answers: LoginAnswers): Verdict {
  const answer = answers.get(question.key);
  return answer === undefined ? question : answer;
}

function typeFits({ type }: HbaRule, { ip, isTls }: HbaApplicant): boolean {
  if (ip === null) return type === 'local';
  return type === 'host' || type === (isTls ? 'hostssl' : 'hostnossl');
}

function databaseFits(name: HbaName, who: HbaApplicant, answers: LoginAnswers): Verdict {
  // Physical replication is of no database: only a rule that names it is for it.
  if (who.replication === 'physical') return name.kind === 'replication';
  switch (name.kind) {
    case 'all':
      return true;
    case 'sameUser':
      return who.database === who.user;
    case 'sameRole':
      return memberOf(who.database, answers);
    case 'name':
      return name.name === who.database;
    case 'regex':
      return matchName(name.regex, who.database) !== null;
    case 'replication':
    case 'role':
      return false;
  }
}

function userFits(name: HbaName, who: HbaApplicant, answers: LoginAnswers): Verdict {
  switch (name.kind) {
    case 'all':
      return true;
    case 'role':
      return memberOf(name.name, answers);
    case 'name':
      return name.name === who.user;
    case 'regex':
      return matchName(name.regex, who.user) !== null;
    case 'sameUser':
    case 'sameRole':
    case 'replication':
      return false;
  }
}

function addressFits(
  address: HbaAddress | null,
  { ip, isOwn }: HbaApplicant,
  answers: LoginAnswers,
): Verdict {
  if (address === null || ip === null) return address === null && ip === null;
  switch (address.kind) {
    case 'all':
      return true;
    case 'sameHost':
      return isOwn('host');
    case 'sameNet':
      return isOwn('net');
    case 'network':
      return sameNetwork(ip, address.base, address.mask);
    case 'host':
      return answerTo({ kind: 'host', key: `host ${address.name}`, name: address.name }, answers);
  }
}
