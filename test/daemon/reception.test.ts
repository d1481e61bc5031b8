import { expect, test } from 'vitest';
import { ConnectionRing, type GivenConnection } from '../../src/daemon/connection-ring.ts';
import { Reception, TAKEN_AT_A_TIME } from '../../src/daemon/reception.ts';

const connection = (fd: number): GivenConnection => ({
  fd,
  peer: null,
  listener: { kind: 'unix', port: 6432 },
  isUnixReplaced: false,
});

/** A worker that takes what `put` has put for it. */
class Stage {
  readonly ring = new ConnectionRing();
  /** What happens to descriptors, in order. */
  readonly calls: string[] = [];
  readonly later: (() => void)[] = [];
  /** Whenever one is taken. */
  onAccept: () => void = () => {};
  readonly reception = new Reception(new ConnectionRing(this.ring.memory), {
    closeAtEnd: (fd) => void this.calls.push(`close ${fd} at the end`),
    accept: ({ fd }) => {
      this.calls.push(`accept ${fd}`);
      this.onAccept();
    },
    later: (call) => void this.later.push(call),
  });
  #last = 0;

  put(count: number): void {
    for (let i = 0; i < count; i++) this.ring.put(connection(++this.#last));
  }

  turn(): void {
    for (const call of this.later.splice(0)) call();
  }

  get accepted(): number {
    return this.calls.filter((call) => call.startsWith('accept')).length;
  }
}

test('a descriptor is closed at the thread’s end from when it is taken on', () => {
  const stage = new Stage();
  stage.put(2);
  stage.reception.bell.readable();
  expect(stage.calls).toEqual(['close 1 at the end', 'accept 1', 'close 2 at the end', 'accept 2']);
  expect(stage.later).toEqual([]);
});

test('whoever is there already gets a turn behind some that come, however many', () => {
  const stage = new Stage();
  // For far longer than the turns are counted.
  let left = 100;
  stage.onAccept = () => {
    if (left-- > 0) stage.put(1);
  };
  stage.put(1);
  for (let turn = 1; turn <= 3; turn++) {
    if (turn === 1) stage.reception.hearBell();
    else stage.turn();
    expect(stage.accepted).toBe(turn * TAKEN_AT_A_TIME);
  }
  // The bell, too, may be rung again meanwhile.
  stage.reception.hearBell();
  expect(stage.later).toHaveLength(1);
  stage.onAccept = () => {};
  stage.turn();
  expect([stage.ring.length, stage.later]).toEqual([0, []]);
});

test('all that are there are taken ahead of what was said behind them, and none that come meanwhile', () => {
  const stage = new Stage();
  stage.put(50);
  stage.onAccept = () => stage.put(1);
  stage.reception.takeAll();
  expect([stage.accepted, stage.ring.length]).toEqual([50, 50]);
});

test('it has to be woken again for what comes when it has looked', () => {
  const stage = new Stage();
  stage.put(1);
  expect([stage.ring.mustWake(), stage.ring.mustWake()]).toEqual([true, false]);
  stage.reception.hearBell();
  stage.put(1);
  expect(stage.ring.mustWake()).toBe(true);
});
