import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One place in the sources that a fault changes. */
export interface Edit {
  /** Path from the project's folder. */
  readonly file: string;
  /** The source text that goes; it stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}

/** A mistake that somebody could make, and the tests that must notice it. */
export interface Fault {
  /** What the pooler does wrong with it. */
  readonly name: string;
  /** One edit, unless the mistake stays without effect behind a second line of defence. */
  readonly edits: readonly [Edit, ...Edit[]];
  /** Test files of which at least one test must fail. */
  readonly tests: readonly [string, ...string[]];
  /** What random tests begin with (`PGWEIR_TEST_SEED`), so that they meet the fault each time; default: anything. */
  readonly seed?: number;
}

/** A fault with a single edit, written down flat. */
export function fault(
  name: string,
  edit: Edit,
  tests: Fault['tests'],
  ...furtherEdits: readonly Edit[]
): Fault {
  return { name, edits: [edit, ...furtherEdits], tests };
}

/** The changed text of each file that the fault touches; throws when an edit does not fit the sources. */
export function applyFault({ edits }: Fault, root: string): Map<string, string> {
  const texts = new Map<string, string>();
  for (const { file, find, replace } of edits) {
    const text = texts.get(file) ?? readFileSync(join(root, file), 'utf8');
    const count = text.split(find).length - 1;
    if (count !== 1) throw new Error(`${file} has ${count} times, not once: ${find}`);
    if (find === replace) throw new Error(`${file}: the edit changes nothing: ${find}`);
    // A function, for `$` has a meaning in a replacement text.
    texts.set(
      file,
      text.replace(find, () => replace),
    );
  }
  return texts;
}
