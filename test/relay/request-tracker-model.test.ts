import fc from 'fast-check';
import { expect, it } from 'vitest';
import { RequestTracker } from '../../src/relay/request-tracker.ts';
import { type Answer, BackendModel, type Kind, type Request } from './backend-model.ts';

/** A tracker between a client and a modelled backend; answers lie on the wire until they are delivered. */
class Run {
  readonly tracker = new RequestTracker();
  readonly backend = new BackendModel();
  readonly wire: Answer[] = [];

  send(request: Request): void {
    this.tracker.sent(request.type.charCodeAt(0));
    this.backend.input.push(request);
  }

  read(): void {
    this.wire.push(...this.backend.step());
  }

  cancel(): void {
    this.wire.push(...this.backend.cancel());
  }

  deliver(): void {
    const answer = this.wire.shift();
    if (answer === undefined) return;
    if (answer.startsWith('Z')) this.tracker.readyForQuery(answer.charCodeAt(1));
    else this.tracker.received(answer.charCodeAt(0));
  }

  /** Everything sent is read and everything answered is delivered. */
  settle(): void {
    while (this.backend.input.length > 0 && !this.backend.isDead) this.read();
    while (this.wire.length > 0) this.deliver();
  }

  get isReallyClean(): boolean {
    return this.backend.isClean && this.wire.length === 0;
  }
}

const of = (type: string, ...kinds: Kind[]): fc.Arbitrary<Request> =>
  fc.record({ type: fc.constant(type), kind: fc.constantFrom(...kinds) });

const request = fc.oneof(
  of('Q', 'ok', 'empty', 'error', 'begin', 'commit', 'copy'),
  of('F', 'ok', 'error'),
  of('P', 'ok', 'ok', 'error'),
  of('B', 'ok', 'ok', 'error'),
  of('D', 'ok'),
  of('E', 'ok', 'empty', 'error', 'begin', 'commit', 'copy', 'suspended'),
  of('C', 'ok'),
  of('S', 'ok'),
  of('S', 'ok'),
  of('H', 'ok'),
  of('d', 'ok', 'error'),
  of('c', 'ok'),
  of('f', 'ok'),
);

/** What makes COPY IN hard to follow: Syncs on either side of its end, failing data, further requests. */
const copyRequest = fc.oneof(
  of('E', 'copy'),
  of('Q', 'copy'),
  of('S', 'ok'),
  of('c', 'ok'),
  of('d', 'error'),
  request,
);

const stepOf = (requests: fc.Arbitrary<Request>) =>
  fc.oneof(
    { weight: 12, arbitrary: requests.map((value) => ({ kind: 'send' as const, value })) },
    { weight: 12, arbitrary: fc.constant({ kind: 'read' as const }) },
    { weight: 12, arbitrary: fc.constant({ kind: 'deliver' as const }) },
    { weight: 6, arbitrary: fc.constant({ kind: 'settle' as const }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'cancel' as const }) },
  );

type StepValue = { kind: 'send'; value: Request } | { kind: 'read' | 'deliver' | 'settle' | 'cancel' };

function perform(run: Run, each: StepValue): void {
  if (each.kind === 'send') run.send(each.value);
  else run[each.kind]();
}

/** Long runs: the traps lie behind several steps. */
const LONG = { maxLength: 60, size: 'max' } as const;
/** A COPY IN that has failed, which the client has not heard of, with Syncs behind another request. */
const behindAnother = fc
  .tuple(of('Q', 'copy'), request, of('S', 'ok'), fc.nat(4), fc.array(stepOf(copyRequest), LONG))
  .map(([copy, other, sync, count, rest]): StepValue[] => [
    { kind: 'send', value: copy },
    { kind: 'send', value: other },
    { kind: 'read' },
    { kind: 'deliver' },
    ...Array.from({ length: count }, () => ({ kind: 'send' as const, value: sync })),
    { kind: 'cancel' },
    ...rest,
  ]);
const steps = fc.oneof(fc.array(stepOf(request), LONG), fc.array(stepOf(copyRequest), LONG), behindAnother);
/** What a COPY IN that fails is made of. */
const KINDS: Readonly<Record<string, Kind>> = { E: 'copy', Q: 'copy', d: 'error' };
const RUNS = { numRuns: 10_000 };

it('a connection counts as clean only when the backend is, unless it is marked for a probe', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const run = new Run();
      for (const each of all) {
        perform(run, each);
        if (run.backend.isDead) return;
        if (run.tracker.isClean && !run.tracker.isUnsure) expect(run.isReallyClean).toBe(true);
      }
    }),
    RUNS,
  );
});

it('a connection is known to be clean as soon as the backend is, unless it is marked for a probe', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const run = new Run();
      for (const each of all) {
        perform(run, each);
        if (run.backend.isDead) return;
        if (run.isReallyClean && !run.tracker.isUnsure) expect(run.tracker.isClean).toBe(true);
      }
    }),
    RUNS,
  );
});

it('a connection that is clean but marked answers a probe, or shows by an error or a COPY that it may not', () => {
  let probed = 0;
  fc.assert(
    fc.property(steps, (all) => {
      const run = new Run();
      for (const each of all) {
        perform(run, each);
        if (run.backend.isDead) return;
        if (!run.tracker.isClean || !run.tracker.isUnsure) continue;
        probed++;
        while (run.backend.input.length > 0 && !run.backend.isDead) run.read();
        const shows = run.wire.some((answer) => answer === 'E' || answer === 'G');
        expect(shows || run.backend.isDead || !run.backend.isSkipping).toBe(true);
        return;
      }
    }),
    RUNS,
  );
  // The property is not about nothing.
  expect(probed).toBeGreaterThan(20);
});

it('no more ReadyForQuery come than are reckoned with, and of a COPY it is not said wrongly whether its end was sent', () => {
  let began = 0;
  const open = fc.constantFrom<Request[]>(
    ...['E S d S c', 'E d S c', 'Q S d c', 'Q S d S c'].map((script) =>
      script.split(' ').map((type): Request => ({ type, kind: KINDS[type] ?? 'ok' })),
    ),
  );
  fc.assert(
    fc.property(open, fc.array(stepOf(copyRequest), LONG), (first, all) => {
      const run = new Run();
      const { tracker, backend, wire } = run;
      for (const each of first) run.send(each);
      for (const each of all) {
        const isCopyNext = wire[0] === 'G';
        perform(run, each);
        if (backend.isDead) return;
        if (each.kind !== 'deliver' || !isCopyNext || !tracker.isUnsure) continue;
        // Behind a client that waits nothing more is sent.
        const isSent = backend.input.some(({ type }) => type === 'c' || type === 'f');
        const isEnded = tracker.lost.isCopyEnded(tracker.queue);
        if (backend.isInCopy && wire.length === 0) {
          began++;
          if (isEnded !== 'unknown') expect(isEnded).toBe(isSent);
        }
      }
      while (backend.input.length > 0 && !backend.isDead) run.read();
      if (backend.isDead) return;
      expect(wire.filter((answer) => answer.startsWith('Z')).length).toBeLessThanOrEqual(
        tracker.lost.readies,
      );
    }),
    RUNS,
  );
  expect(began).toBeGreaterThan(20);
});

it('behind requests that have ended no ReadyForQuery comes right behind an answer for a Sync of ours, unless behind a COPY', () => {
  let counted = 0;
  fc.assert(
    fc.property(steps, (all) => {
      const run = new Run();
      const { tracker, backend, wire } = run;
      for (const each of all) perform(run, each);
      let isSure = tracker.areEnded;
      while (backend.input.length > 0 && !backend.isDead) run.read();
      if (backend.isDead || backend.isInCopy) return;
      const { length } = wire;
      for (let i = 0; i < 2; i++) backend.input.push({ type: 'S', kind: 'ok' });
      for (let i = 0; i < 2; i++) run.read();
      for (const [i, answer] of wire.entries()) {
        if (answer === 'G') isSure = false;
        if (!isSure || i === 0 || !answer.startsWith('Z') || wire[i - 1]?.startsWith('Z')) continue;
        counted++;
        expect(i).toBeLessThan(length);
      }
    }),
    RUNS,
  );
  expect(counted).toBeGreaterThan(20);
});

it('a client that waits for its answers is never left on an unclean connection after it has finished', () => {
  const finish: Request[] = [
    { type: 'f', kind: 'ok' },
    { type: 'S', kind: 'ok' },
    { type: 'Q', kind: 'commit' },
  ];
  fc.assert(
    fc.property(fc.array(request, LONG), (requests) => {
      const run = new Run();
      for (const each of requests) {
        run.send(each);
        run.settle();
      }
      for (const each of finish) {
        run.send(each);
        run.settle();
      }
      if (run.backend.isDead) return;
      expect(run.backend.isClean).toBe(true);
      expect(run.tracker.isClean).toBe(true);
    }),
    RUNS,
  );
});
