/** What a CommandComplete says about a session's state; null: nothing that we act on. */
export type SessionTag = 'discard' | 'deallocate' | 'reset' | 'set' | 'rollback' | 'prepare' | null;

const TAGS: readonly (readonly [text: Buffer, tag: Exclude<SessionTag, null>])[] = [
  [Buffer.from('DISCARD ALL\0'), 'discard'],
  [Buffer.from('DEALLOCATE ALL\0'), 'deallocate'],
  [Buffer.from('RESET\0'), 'reset'],
  [Buffer.from('SET\0'), 'set'],
  [Buffer.from('ROLLBACK\0'), 'rollback'],
  [Buffer.from('PREPARE\0'), 'prepare'],
];

/**
 * Whether a body of so many bytes may be one of the tags that are acted on. `first` is its first byte, -1 where that
 * has not come yet.
 */
export function mayBeSessionTag(bodyBytes: number, first: number): boolean {
  switch (bodyBytes) {
    case 4:
    case 6:
    case 12:
    case 15:
      return first < 0 || first === 0x53 || first === 0x52 || first === 0x44; // S, R, D
    case 8:
      return first < 0 || first === 0x50; // P
    case 9:
      // Not `SELECT 1`, which is common.
      return first < 0 || first === 0x52;
    default:
      return false;
  }
}

/** What CommandComplete's body says. */
export function sessionTag(body: Buffer): SessionTag {
  for (const [text, tag] of TAGS) if (text.equals(body)) return tag;
  return null;
}
