/** A piece of a text, `bytes[start, end)`, and what takes its place; ASCII. */
export interface Replacement {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** A text in which some pieces were replaced: the new bytes, and where a character of it was before. */
export class TextChange {
  #bytes: Buffer | null;
  readonly #pieces: readonly {
    readonly at: number;
    readonly oldLength: number;
    readonly newLength: number;
  }[];

  /**
   * `replacements` in their order in `bytes[start, end)`. `isUtf8`: how characters are counted; else each byte is
   * taken for one.
   */
  constructor(
    bytes: Buffer,
    start: number,
    end: number,
    replacements: readonly Replacement[],
    isUtf8: boolean,
  ) {
    const parts: Buffer[] = [];
    let from = start;
    let characters = 0;
    const count = (a: number, b: number) => (isUtf8 ? countCharacters(bytes, a, b) : b - a);
    this.#pieces = replacements.map((piece) => {
      parts.push(bytes.subarray(from, piece.start), Buffer.from(piece.text, 'latin1'));
      characters += count(from, piece.start);
      const at = characters;
      const oldLength = count(piece.start, piece.end);
      characters += oldLength;
      from = piece.end;
      return { at, oldLength, newLength: piece.text.length };
    });
    parts.push(bytes.subarray(from, end));
    this.#bytes = Buffer.concat(parts);
  }

  /** The new text, the caller's: this is kept for as long as an error may come of it, and the text may be a long one. */
  take(): Buffer {
    const bytes = this.#bytes;
    if (bytes === null) throw new Error('a changed text is taken twice');
    this.#bytes = null;
    return bytes;
  }

  /** A character's position in the old text, from 1, by its position in the new one; a replaced one's first. */
  position(sent: number): number {
    let grown = 0;
    for (const { at, oldLength, newLength } of this.#pieces) {
      const begin = at + grown + 1;
      if (sent < begin) break;
      if (sent < begin + newLength) return at + 1;
      grown += newLength - oldLength;
    }
    return sent - grown;
  }
}

function countCharacters(bytes: Buffer, start: number, end: number): number {
  let count = 0;
  for (let i = start; i < end; i++) if (((bytes[i] as number) & 0xc0) !== 0x80) count++;
  return count;
}
