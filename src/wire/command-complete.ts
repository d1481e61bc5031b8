/** What a CommandComplete says about a session's state; null: nothing that we act on. */
export type SessionTag = 'drops-statements' | 'reset' | 'set' | null;

const TAGS: readonly (readonly [text: Buffer, tag: Exclude<SessionTag, null>])[] = [
  [Buffer.from('DISCARD ALL\0'), 'drops-statements'],
  [Buffer.from('DEALLOCATE ALL\0'), 'drops-statements'],
  [Buffer.from('RESET\0'), 'reset'],
  [Buffer.from('SET\0'), 'set'],
];

/** Whether a body of so many bytes may be one of the tags that are acted on in any session. */
export function mayDropStatements(bodyBytes: number): boolean {
  return bodyBytes === 12 || bodyBytes === 15;
}

/** And in one with parameters of its own. */
export function maySet(bodyBytes: number): boolean {
  return bodyBytes === 4 || bodyBytes === 6;
}

/** What CommandComplete's body says. */
export function sessionTag(body: Buffer): SessionTag {
  for (const [text, tag] of TAGS) if (text.equals(body)) return tag;
  return null;
}
