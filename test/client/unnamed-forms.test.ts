import { expect, test } from 'vitest';
import type { Statement, StatementCache } from '../../src/prepared/statement.ts';
import { type ParseFate, type UnnamedForm, UnnamedForms } from '../../src/client/unnamed-forms.ts';
import { withSeed } from '../support/random.ts';

const NO_NAMES: ReadonlyMap<string, string> = new Map();

function formOf(statement: Statement): UnnamedForm {
  return { kind: 'prepare', name: 'a', statement, taken: null, names: NO_NAMES, text: null, change: null };
}

test('the last Parse that was done or failed decides, and each statement is held for as long as it may be needed', async () => {
  await withSeed(async (random) => {
    const statements = Array.from({ length: 3 }, () => ({ users: 0 }) as Statement);
    const cache = { release: (statement: Statement) => void statement.users-- } as StatementCache;
    for (let round = 0; round < 2000; round++) {
      const forms = new UnnamedForms(cache);
      let before: UnnamedForm | null = null;
      let sent: { readonly fate: ParseFate; readonly form: UnnamedForm | null }[] = [];
      for (let i = 0; i < 12; i++) {
        const what = random.below(8);
        if (what < 4) {
          const form = random.below(2) === 0 ? null : formOf(random.pick(statements));
          // One without a form is told of only where it may take something's place.
          if (form !== null || forms.isStanding) sent.push({ fate: forms.parsed(form), form });
        } else if (what === 4 && random.below(3) === 0) {
          forms.dropped();
          before = null;
          for (const { fate } of sent.splice(0)) random.pick([fate.done, fate.failed, fate.skipped])();
        } else if (what < 6) {
          const first = sent.shift();
          first?.fate.done();
          if (first !== undefined) before = first.form;
        } else {
          // One fails, or another request ahead of it: what was sent behind that is skipped.
          const isFirst = random.below(2) === 0;
          for (const [at, { fate }] of sent.entries()) {
            if (at > 0 || !isFirst) fate.skipped();
            else {
              fate.failed();
              before = null;
            }
          }
          sent = [];
        }
        forms.bound('', true);
        expect(forms.portal('')).toBe(sent.length > 0 ? sent.at(-1)?.form : before);
      }
      forms.end();
      for (const { fate } of sent) fate.skipped();
      expect(statements.map(({ users }) => users)).toEqual([0, 0, 0]);
    }
  });
});
