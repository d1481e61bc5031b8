import { anyOf, type LoginAnswers, memberOf, type Verdict } from './hba-match.ts';
import type { IdentRule } from './ident.ts';
import { matchName } from './name-regex.ts';

/**
 * Whether somebody who has proved to be one of `systemNames` may log in as `user`. Without a map (`rules` null) the
 * names have to be the same. Source: manual, `auth-username-maps`.
 */
export function identFits(
  rules: readonly IdentRule[] | null,
  systemNames: readonly string[],
  user: string,
  answers: LoginAnswers,
): Verdict {
  if (rules === null) return systemNames.includes(user);
  return anyOf(rules, (rule) => anyOf(systemNames, (name) => ruleFits(rule, name, user, answers)));
}

function ruleFits(rule: IdentRule, systemName: string, user: string, answers: LoginAnswers): Verdict {
  let group: string | null = null;
  if (rule.system.kind === 'name') {
    if (rule.system.name !== systemName) return false;
  } else {
    const match = matchName(rule.system.regex, systemName);
    if (match === null) return false;
    group = match.group;
  }
  switch (rule.user.kind) {
    case 'all':
      return true;
    case 'role':
      return memberOf(rule.user.name, answers);
    case 'regex':
      return matchName(rule.user.regex, user) !== null;
    case 'name': {
      if (!rule.user.hasGroup) return rule.user.name === user;
      // A group that took no part in the match stands for nobody.
      if (group === null) return false;
      return replaceOnce(rule.user.name, group) === user;
    }
  }
}

/** As PostgreSQL: the first `\1` is replaced. */
function replaceOnce(text: string, group: string): string {
  return text.replace('\\1', () => group);
}
