import { expect, test } from 'vitest';
import { type LedgerChange, UNSETTLED } from '../../src/prepared/ledger.ts';
import { type Statement, StatementCache } from '../../src/prepared/statement.ts';
import { type UnnamedForm, UnnamedForms } from '../../src/client/unnamed-forms.ts';
import { withSeed } from '../support/random.ts';

const NO_NAMES: ReadonlyMap<string, string> = new Map();

function formOf(statement: Statement): UnnamedForm {
  const nothing = { taken: null, names: NO_NAMES, text: null, change: null, drops: false };
  return { ...nothing, kind: 'prepare', name: 'a', statement };
}

/** Three statements, each held once, and what else holds them. */
function stage() {
  const cache = new StatementCache();
  const statements = ['a', 'b', 'c'].map((text) => cache.hold('sql', text));
  return {
    forms: new UnnamedForms(cache),
    statements,
    users: () => statements.map(({ users }) => users - 1),
  };
}

test('the last Parse that was done or failed decides, and each statement is held for as long as it may be needed', async () => {
  await withSeed(async (random) => {
    for (let round = 0; round < 2000; round++) {
      const { forms, statements, users } = stage();
      let before: UnnamedForm | null = null;
      let sent: { readonly fate: LedgerChange; readonly form: UnnamedForm | null; segment: number }[] = [];
      let segment = 0;
      for (let i = 0; i < 12; i++) {
        const what = random.below(8);
        segment += random.below(2);
        if (what < 4) {
          const form = random.below(2) === 0 ? null : formOf(random.pick(statements));
          // One without a form is told of only where it may take something's place.
          if (form !== null || forms.isStanding)
            sent.push({ fate: forms.parsed(form, segment), form, segment });
        } else if (what === 4 && random.below(3) === 0) {
          forms.dropped();
          before = null;
          for (const { fate } of sent.splice(0)) random.pick([fate.settle, fate.lose, fate.undo])();
        } else if (what < 6) {
          const first = sent.shift();
          first?.fate.settle();
          if (first !== undefined) before = first.form;
        } else {
          // One fails, or another request ahead of it: what was sent behind that is skipped.
          const isFirst = random.below(2) === 0;
          for (const [at, { fate }] of sent.entries()) {
            if (at > 0 || !isFirst) fate.undo();
            else {
              fate.lose();
              before = null;
            }
          }
          sent = [];
        }
        const last = sent.at(-1);
        // Of its own stretch: if that fails, who asks is skipped.
        const expected = last === undefined ? before : last.segment === segment ? last.form : UNSETTLED;
        expect(forms.unnamed(segment)).toBe(expected);
      }
      forms.end();
      for (const { fate } of sent) fate.undo();
      expect(users()).toEqual([0, 0, 0]);
    }
  });
});

test('a portal is what it was before a Bind or Close that fails', () => {
  const { forms, statements, users } = stage();
  const [first, second] = statements.map(formOf) as [UnnamedForm, UnnamedForm];
  forms.boundTo('p', first, 1)?.settle();
  const again = forms.boundTo('p', second, 2);
  const other = forms.boundTo('p', null, 2);
  const closed = forms.boundTo('p', null, 2);
  expect([forms.portal('p', 2), forms.portal('p', 3), forms.hasPortals]).toEqual([null, UNSETTLED, true]);
  for (const change of [again, other, closed]) change?.undo();
  expect(forms.portal('p', 3)).toBe(first);
  expect(forms.statements()).toEqual(new Set([first.statement]));
  forms.boundTo('p', null, 3)?.settle();
  expect([forms.portal('p', 3), forms.hasPortals, forms.statements()]).toEqual([null, false, null]);
  expect(forms.boundTo('p', null, 3)).toBeNull();
  expect(users()).toEqual([0, 0, 0]);
});

test('what a Bind that may fail would leave is held, and let go with the transaction', () => {
  const { forms, statements, users } = stage();
  const [first, second] = statements.map(formOf) as [UnnamedForm, UnnamedForm];
  forms.boundTo('', first, 1)?.settle();
  const again = forms.boundTo('', second, 1);
  expect(forms.statements()).toEqual(new Set([first.statement, second.statement]));
  expect(users()).toEqual([1, 1, 0]);
  forms.endPortals();
  again?.undo();
  expect([forms.hasPortals, forms.portal('', 2), users()]).toEqual([false, null, [0, 0, 0]]);
});

test('there is room for 64 portals, and for what takes the place of one', () => {
  const { forms, statements } = stage();
  const [form] = statements.map(formOf) as [UnnamedForm];
  for (let i = 0; i < 64; i++) forms.boundTo(`p${i}`, form, 1)?.settle();
  expect([forms.hasRoomFor('p0'), forms.hasRoomFor('q')]).toEqual([true, false]);
  forms.boundTo('p1', null, 1);
  expect(forms.hasRoomFor('q')).toBe(true);
});
