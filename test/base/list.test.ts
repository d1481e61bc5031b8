import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IntrusiveList, type ListNode } from '../../src/base/list.ts';

class Item implements ListNode {
  listPrev: ListNode | null = null;
  listNext: ListNode | null = null;
  listOwner: object | null = null;
  readonly id: number;

  constructor(id: number) {
    this.id = id;
  }
}

function ids(list: IntrusiveList<Item>): number[] {
  return Array.from(list, (item) => item.id);
}

/** The links followed from the tail: a list can look right forwards and be broken backwards. */
function idsBackwards(list: IntrusiveList<Item>): number[] {
  const found: number[] = [];
  let item = list.last;
  while (item !== null && found.length <= list.length) {
    found.unshift(item.id);
    item = item.listPrev as Item | null;
  }
  return found;
}

function filled(...numbers: number[]): { list: IntrusiveList<Item>; items: Item[] } {
  const list = new IntrusiveList<Item>();
  const items = numbers.map((id) => new Item(id));
  for (const item of items) list.pushBack(item);
  return { list, items };
}

describe('IntrusiveList', () => {
  it('behaves as an array under any operations, with items moving between two lists', () => {
    const operation = fc.record({
      verb: fc.constantFrom('pushBack', 'pushFront', 'remove', 'shift'),
      list: fc.nat({ max: 1 }),
      item: fc.nat({ max: 7 }),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const items = Array.from({ length: 8 }, (_, id) => new Item(id));
        const lists = [new IntrusiveList<Item>(), new IntrusiveList<Item>()] as const;
        const models: [number[], number[]] = [[], []];
        for (const op of operations) {
          const list = lists[op.list as 0 | 1];
          const model = models[op.list as 0 | 1];
          const item = items[op.item] as Item;
          const isFree = !models[0].includes(item.id) && !models[1].includes(item.id);
          if (op.verb === 'shift') {
            expect(list.shift()?.id).toBe(model.shift());
          } else if (op.verb === 'remove') {
            if (model.includes(item.id)) {
              list.remove(item);
              model.splice(model.indexOf(item.id), 1);
            } else {
              expect(() => list.remove(item)).toThrow('not in this list');
            }
          } else if (isFree) {
            list[op.verb](item);
            if (op.verb === 'pushBack') model.push(item.id);
            else model.unshift(item.id);
          } else {
            expect(() => list[op.verb as 'pushBack'](item)).toThrow('already in a list');
          }
          for (const i of [0, 1] as const) {
            expect(ids(lists[i])).toEqual(models[i]);
            expect(idsBackwards(lists[i])).toEqual(models[i]);
            expect(lists[i].length).toBe(models[i].length);
            expect(lists[i].first?.id).toBe(models[i][0]);
            expect(lists[i].last?.id).toBe(models[i].at(-1));
            for (const each of items) expect(lists[i].has(each)).toBe(models[i].includes(each.id));
          }
        }
      }),
    );
  });

  it('asserts when an item is put in twice, and stays as it was', () => {
    const { list, items } = filled(1, 2);
    expect(() => list.pushBack(items[0] as Item)).toThrow('list node is already in a list');
    expect(() => list.pushFront(items[1] as Item)).toThrow('list node is already in a list');
    expect(() => new IntrusiveList<Item>().pushBack(items[0] as Item)).toThrow('already in a list');
    expect(ids(list)).toEqual([1, 2]);
  });

  it('asserts when an item of another list, or of none, is removed', () => {
    const { list, items } = filled(1);
    expect(() => new IntrusiveList<Item>().remove(items[0] as Item)).toThrow('not in this list');
    expect(() => list.remove(new Item(2))).toThrow('list node is not in this list');
    expect(ids(list)).toEqual([1]);
  });

  it('leaves no links in an item that was taken out', () => {
    const { list, items } = filled(1, 2, 3);
    const middle = items[1] as Item;
    list.remove(middle);
    expect([middle.listPrev, middle.listNext, middle.listOwner]).toEqual([null, null, null]);
  });

  it('lets the walk remove the item that it stands on', () => {
    const { list } = filled(1, 2, 3, 4);
    const visited: number[] = [];
    for (const item of list) {
      visited.push(item.id);
      if (item.id !== 2) list.remove(item);
    }
    expect(visited).toEqual([1, 2, 3, 4]);
    expect(ids(list)).toEqual([2]);
  });

  it('gives null when there is nothing', () => {
    const list = new IntrusiveList<Item>();
    expect([list.first, list.last, list.shift(), list.length]).toEqual([null, null, null, 0]);
  });
});
