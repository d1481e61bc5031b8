import assert from 'node:assert';

/**
 * What an object carries to stand in one {@link IntrusiveList} at a time. The fields belong to the list:
 * nobody else writes them.
 */
export interface ListNode {
  listPrev: ListNode | null;
  listNext: ListNode | null;
  /** The list that holds the node, or null. */
  listOwner: object | null;
}

/**
 * Doubly linked list whose links live in its members: O(1) insertion at both ends and O(1) removal from the
 * middle, no allocation. A member stands in at most one list; putting it in a second one is a bug and asserts.
 */
export class IntrusiveList<T extends ListNode> {
  #head: T | null = null;
  #tail: T | null = null;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get first(): T | null {
    return this.#head;
  }

  get last(): T | null {
    return this.#tail;
  }

  has(node: T): boolean {
    return node.listOwner === this;
  }

  pushBack(node: T): void {
    if (node.listOwner !== null) assert.fail('list node is already in a list');
    node.listOwner = this;
    node.listPrev = this.#tail;
    node.listNext = null;
    if (this.#tail === null) this.#head = node;
    else this.#tail.listNext = node;
    this.#tail = node;
    this.#length++;
  }

  pushFront(node: T): void {
    if (node.listOwner !== null) assert.fail('list node is already in a list');
    node.listOwner = this;
    node.listPrev = null;
    node.listNext = this.#head;
    if (this.#head === null) this.#tail = node;
    else this.#head.listPrev = node;
    this.#head = node;
    this.#length++;
  }

  /** Takes the node out; asserts that it stood in this list. */
  remove(node: T): void {
    if (node.listOwner !== this) assert.fail('list node is not in this list');
    const prev = node.listPrev as T | null;
    const next = node.listNext as T | null;
    if (prev === null) this.#head = next;
    else prev.listNext = next;
    if (next === null) this.#tail = prev;
    else next.listPrev = prev;
    node.listPrev = null;
    node.listNext = null;
    node.listOwner = null;
    this.#length--;
  }

  shift(): T | null {
    const node = this.#head;
    if (node !== null) this.remove(node);
    return node;
  }

  /** Walks from head to tail. The member just yielded may be removed during the walk; no other one may. */
  *[Symbol.iterator](): Generator<T, void, undefined> {
    let node = this.#head;
    while (node !== null) {
      const next = node.listNext as T | null;
      yield node;
      node = next;
    }
  }
}
