/**
 * The few of LDAP's messages that logins need, read only as far as that. Servers are strangers here: whatever is not
 * well-formed throws {@link LdapError}. Source: RFC 4511.
 */
import { type Element, elementAt } from '../base/der.ts';

/** A message is none, or not one that is expected. No text holds anything of it. */
export class LdapError extends Error {
  override readonly name = 'LdapError';
}

const SEQUENCE = 0x30;
const INTEGER = 0x02;
const OCTET_STRING = 0x04;
const ENUMERATED = 0x0a;
const SEARCH_ENTRY = 0x64;
const SEARCH_REFERENCE = 0x73;

/** The responses that requests end with, by the tags of both: to a bind, a search, an extended request. */
const LAST_RESPONSES: ReadonlyMap<number, number> = new Map([
  [0x60, 0x61],
  [0x63, 0x65],
  [0x77, 0x78],
]);

/** ExtendedRequest 1.3.6.1.4.1.1466.20037 as message 1. Source: RFC 4511, section 4.14. */
export const START_TLS = Buffer.concat([
  Buffer.from([SEQUENCE, 29, INTEGER, 1, 1, 0x77, 24, 0x80, 22]),
  Buffer.from('1.3.6.1.4.1.1466.20037', 'latin1'),
]);

/** UnbindRequest, the goodbye, as message 0x7f. */
export const UNBIND = Buffer.from([SEQUENCE, 5, INTEGER, 1, 0x7f, 0x42, 0]);

/** One message of the answer to a request: its end, with LDAP's resultCode; an entry that was found; neither. */
export type LdapResponse =
  | { readonly kind: 'last'; readonly code: number }
  | { readonly kind: 'entry'; readonly name: string }
  | { readonly kind: 'other' };

/** Bytes of the whole message that `bytes` begin with; 0: it is not there yet. */
export function ldapMessageLength(bytes: Buffer): number {
  return elementAt(bytes, 0, bytes.length)?.end ?? 0;
}

/** Reads a whole message as one of the answer to the whole message `request`. Throws {@link LdapError}. */
export function readLdapResponse(message: Buffer, request: Buffer): LdapResponse {
  const asked = operationOf(request);
  const response = operationOf(message);
  if (response.id !== asked.id) throw new LdapError('an answer to something else from the LDAP server');
  const first = elementAt(message, response.start, response.end);
  if (response.tag === LAST_RESPONSES.get(asked.tag) && first?.tag === ENUMERATED) {
    return { kind: 'last', code: numberAt(message, first) };
  }
  if (response.tag === SEARCH_ENTRY && first?.tag === OCTET_STRING) {
    return { kind: 'entry', name: message.toString('utf8', first.start, first.end) };
  }
  if (response.tag === SEARCH_REFERENCE) return { kind: 'other' };
  throw malformed();
}

/** A whole message's number and operation. Shape: SEQUENCE { INTEGER, operation, controls OPTIONAL }. */
function operationOf(message: Buffer): Element & { readonly id: number } {
  const all = elementAt(message, 0, message.length);
  const id = all?.tag === SEQUENCE ? elementAt(message, all.start, all.end) : null;
  const operation = all === null || id?.tag !== INTEGER ? null : elementAt(message, id.end, all.end);
  if (id === null || operation === null) throw malformed();
  return { ...operation, id: numberAt(message, id) };
}

function numberAt(message: Buffer, { start, end }: Element): number {
  if (end - start < 1 || end - start > 4) throw malformed();
  return message.readIntBE(start, end - start);
}

function malformed(): LdapError {
  return new LdapError('a malformed message from the LDAP server');
}
