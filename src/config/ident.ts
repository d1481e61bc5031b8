import type { AuthLine, AuthToken } from './auth-lines.ts';
import { ConfigError } from './config-error.ts';
import { compileNameRegex } from './name-regex.ts';

/** Which names of the system may log in as which user; a line of one map. Plain data. */
export interface IdentRule {
  /** The name that a certificate or the system proves: itself, or what is found in it. */
  readonly system:
    | { readonly kind: 'name'; readonly name: string }
    | { readonly kind: 'regex'; readonly regex: RegExp };
  /**
   * `name`: with `\\1` in it, that stands for the first group of the system's. `role`: the members of one.
   */
  readonly user:
    | { readonly kind: 'all' }
    | { readonly kind: 'name'; readonly name: string; readonly hasGroup: boolean }
    | { readonly kind: 'regex'; readonly regex: RegExp }
    | { readonly kind: 'role'; readonly name: string };
}

/** By the maps' names. */
export type IdentMaps = ReadonlyMap<string, readonly IdentRule[]>;

/**
 * Reads `auth_ident_file`: lines of map, system user and user. Throws {@link ConfigError} for a line that makes no
 * sense: half a map could let the wrong ones in. Source: PgBouncer `auth_ident_file`; manual, `auth-username-maps`.
 */
export function parseIdentLines(lines: readonly AuthLine[]): IdentMaps {
  const maps = new Map<string, IdentRule[]>();
  for (const { fields, at } of lines) {
    const words = fields.map((field) => (field.length === 1 ? field[0] : undefined));
    const [map, system, user] = words;
    if (map === undefined || system === undefined || user === undefined || words.length !== 3) {
      throw new ConfigError(at, '', 'three words: map, system user, user');
    }
    const refuse = (expected: string): never => {
      throw new ConfigError(at, map.text, expected);
    };
    const rule: IdentRule = { system: systemOf(system, refuse), user: userOf(user, refuse) };
    if (rule.user.kind === 'name' && rule.user.hasGroup) {
      const groups = rule.system.kind === 'regex' ? groupsOf(rule.system.regex) : 0;
      if (groups === 0) return refuse('a regular expression with a group in it for the \\1 of the user');
    }
    const rules = maps.get(map.text);
    if (rules === undefined) maps.set(map.text, [rule]);
    else rules.push(rule);
  }
  return maps;
}

function systemOf({ text }: AuthToken, refuse: (expected: string) => never): IdentRule['system'] {
  if (!text.startsWith('/')) return { kind: 'name', name: text };
  const compiled = compileNameRegex(text.slice(1));
  if ('expected' in compiled) return refuse(compiled.expected);
  return { kind: 'regex', regex: compiled.regex };
}

function userOf({ text, isQuoted }: AuthToken, refuse: (expected: string) => never): IdentRule['user'] {
  if (text === 'all' && !isQuoted) return { kind: 'all' };
  if (text.startsWith('/')) {
    const compiled = compileNameRegex(text.slice(1));
    if ('expected' in compiled) return refuse(compiled.expected);
    return { kind: 'regex', regex: compiled.regex };
  }
  if (text.startsWith('+') && !isQuoted) return { kind: 'role', name: text.slice(1) };
  if (text === '') return refuse('a user');
  return { kind: 'name', name: text, hasGroup: text.includes('\\1') };
}

/** Groups that an expression has: each match gives one entry more than that. */
function groupsOf(regex: RegExp): number {
  return (new RegExp(`${regex.source}|`, regex.flags).exec('')?.length ?? 1) - 1;
}
