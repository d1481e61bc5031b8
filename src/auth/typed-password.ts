import { readPasswordMessage } from '../wire/authentication.ts';
import { fatal, ProtocolViolation } from '../wire/pg-error.ts';
import type { ClientAuthStep } from './client-auth.ts';

/** Longest password taken from a client, in bytes. Source: PgBouncer's fixed limits. */
export const MAX_PASSWORD_BYTES = 65530;

/**
 * What stands in a PasswordMessage, or how the login fails on it: too long, empty, or no such message, for which `refuse`
 * makes the step. The bytes are a view of `body`; never empty.
 */
export function readTypedPassword(
  body: Buffer,
  refuse: (logText: string) => ClientAuthStep,
): { readonly typed: Buffer } | ClientAuthStep {
  // Behind the password stands its zero byte.
  if (body.length > MAX_PASSWORD_BYTES + 1) return { kind: 'fail', error: fatal('password too long') };
  let typed: Buffer;
  try {
    typed = readPasswordMessage(body);
  } catch (error) {
    if (error instanceof ProtocolViolation) return refuse(error.message);
    throw error;
  }
  // LDAP servers take a bind without a password for one without a name, and let it in.
  if (typed.length === 0) return { kind: 'fail', error: fatal('empty password returned by client') };
  return { typed };
}
