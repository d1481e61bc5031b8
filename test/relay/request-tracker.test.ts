import { describe, expect, it } from 'vitest';
import { ReplyAction } from '../../src/relay/outstanding.ts';
import { RequestTracker } from '../../src/relay/request-tracker.ts';

const ACTIONS: Readonly<Record<string, ReplyAction>> = {
  '~': ReplyAction.Swallow,
  '+': ReplyAction.Synthesize,
  '=': ReplyAction.Rewrite,
};

/**
 * Plays a script: `>P` the client sends Parse (`>~P` it is swallowed, `>+P` synthesized, `>=P` rewritten), `<1` the
 * server answers, `<ZI` with ReadyForQuery. Gives what happened to the answers: `1` forwarded, `~1` swallowed,
 * `=1` replaced.
 */
function play(script: string, tracker = new RequestTracker()): { tracker: RequestTracker; seen: string } {
  const seen: string[] = [];
  for (const word of script.split(' ').filter((each) => each !== '')) {
    const action = ACTIONS[word.charAt(1)];
    const letter = word.slice(action === undefined ? 1 : 2);
    if (word.startsWith('>')) {
      tracker.sent(letter.charCodeAt(0), action, Buffer.from(letter.toLowerCase()));
      continue;
    }
    const verdict = letter.startsWith('Z')
      ? tracker.readyForQuery(letter.charCodeAt(1))
      : tracker.received(letter.charCodeAt(0));
    const mark = Object.keys(ACTIONS).find((key) => ACTIONS[key] === verdict) ?? '';
    seen.push(mark + letter);
    for (let bytes = tracker.takeSynthesized(); bytes !== null; bytes = tracker.takeSynthesized()) {
      seen.push(`+${bytes.toString()}`);
    }
  }
  return { tracker, seen: seen.join(' ') };
}

/** clean, quiet (nothing owed, but inside a transaction block) or owed; `?` when it is to be probed. */
function stateAfter(script: string): string {
  const { tracker } = play(script);
  const state = tracker.isClean ? 'clean' : tracker.isQuiet ? 'quiet' : 'owed';
  return tracker.isUnsure ? `${state}?` : state;
}

describe('what is owed', () => {
  it.each([
    ['nothing before the first request', '', 'clean'],
    ['a simple query until ReadyForQuery', '>Q <T <D <C', 'owed'],
    ['nothing after ReadyForQuery', '>Q <T <D <C <ZI', 'clean'],
    ['nothing, but in a transaction block', '>Q <C <ZT', 'quiet'],
    ['nothing, but in a failed block', '>Q <E <ZE', 'quiet'],
    ['nothing after the block has ended', '>Q <C <ZT >Q <C <ZI', 'clean'],
    ['the second of two queries sent at once', '>Q >Q <C <ZI', 'owed'],
    ['nothing after both', '>Q >Q <C <ZI <C <ZI', 'clean'],
    ['nothing after an empty query', '>Q <I <ZI', 'clean'],
    ['nothing after a failed query', '>Q <E <ZI', 'clean'],
    ['nothing after several statements in one query', '>Q <C <T <D <C <C <ZI', 'clean'],
    ['nothing after COPY OUT', '>Q <H <d <d <c <C <ZI', 'clean'],
    ['a function call until ReadyForQuery', '>F <V', 'owed'],
    ['nothing after a function call', '>F <V <ZI', 'clean'],
    ['nothing after a failed function call', '>F <E <ZI', 'clean'],
    ['the Sync when all else is answered', '>P >B >D >E >S <1 <2 <T <D <C', 'owed'],
    ['nothing after the Sync', '>P >B >D >E >S <1 <2 <T <D <C <ZI', 'clean'],
    ['nothing after a lone Sync', '>S <ZI', 'clean'],
    ['nothing after Describe of what gives no rows', '>P >D >S <1 <t <n <ZI', 'clean'],
    ['nothing after Close', '>C >S <3 <ZI', 'clean'],
    ['nothing after a suspended portal', '>B >E >S <2 <D <s <ZI', 'clean'],
    ['nothing after Execute of an empty statement', '>B >E >S <2 <I <ZI', 'clean'],
    ['a Sync that was never sent: the transaction is open', '>P >B >E >H <1 <2 <C', 'owed'],
    ['a Sync that was never sent, behind one that was', '>S >P <ZI <1', 'owed'],
    ['nothing once that Sync was sent', '>P >B >E >H <1 <2 <C >S <ZI', 'clean'],
    ['a query right behind a pipeline without Sync', '>P >B >E >Q <1 <2 <C', 'owed'],
    ['nothing after that query', '>P >B >E >Q <1 <2 <C <C <ZI', 'clean'],
    ['nothing for Flush and stray CopyData', '>H >d', 'clean'],
    ['nothing for stray CopyDone and CopyFail', '>c >f', 'clean'],
    ['nothing for a stray CopyDone behind a query', '>Q >c <C <ZI', 'clean'],
    ['the query behind a stray CopyDone', '>Q >c >Q <C <ZI', 'owed'],
    ['an error that nobody asked for', '<E', 'owed'],
  ])('%s', (_what, script, state) => {
    expect(stateAfter(script)).toBe(state);
  });
});

describe('errors in a pipeline', () => {
  const requests = ['P', 'B', 'D', 'E', 'C', 'S'];
  const answers = ['1', '2', 'T', 'C', '3'];

  it.each(requests.map((type, at) => [type, at] as const))('at %s skip to the Sync', (_type, at) => {
    const pipeline = `${requests.map((type) => `>${type}`).join(' ')} `;
    const before = answers
      .slice(0, at)
      .map((type) => `<${type}`)
      .join(' ');
    expect(stateAfter(`${pipeline} ${before} <E`)).toBe('owed');
    expect(stateAfter(`${pipeline} ${before} <E <ZI`)).toBe('clean');
    // What stands behind the Sync is not skipped.
    expect(stateAfter(`${pipeline} >P >B >E >S ${before} <E <ZI <1 <2 <C`)).toBe('owed');
    expect(stateAfter(`${pipeline} >P >B >E >S ${before} <E <ZI <1 <2 <C <ZI`)).toBe('clean');
    expect(stateAfter(`${pipeline} >Q ${before} <E <ZI`)).toBe('owed');
    expect(stateAfter(`${pipeline} >Q ${before} <E <ZI <C <ZI`)).toBe('clean');
  });

  it('skip a simple query and a function call, too', () => {
    expect(stateAfter('>P >Q >F >B >S <E <ZI')).toBe('clean');
  });

  it('skip what is sent after the error but before the Sync', () => {
    expect(stateAfter('>P <E >B >E >Q')).toBe('owed');
    expect(stateAfter('>P <E >B >E >Q >S <ZI')).toBe('clean');
  });

  it('of a simple query skip nothing', () => {
    expect(stateAfter('>P >Q >B >S <1 <E <ZI')).toBe('owed');
    expect(stateAfter('>P >Q >B >S <1 <E <ZI <2 <ZI')).toBe('clean');
  });
});

describe('COPY IN', () => {
  it.each([
    ['is over with ReadyForQuery', '>Q <G >d >c <C <ZI', 'clean'],
    ['has no answer to its CopyDone', '>Q <G >d >c >Q <C <ZI', 'owed'],
    ['may have been sent ahead of its start', '>Q >d >c >Q <G <C <ZI <C <ZI', 'clean'],
    ['comes twice in one query', '>Q <G >d >c <C <G >d >c <C <ZI', 'clean'],
    ['comes twice, all sent ahead', '>Q >d >c >d >c >Q <G <C <G <C <ZI <C <ZI', 'clean'],
    ['is refused by the client', '>Q <G >d >f <E <ZI', 'clean'],
    ['fails before its CopyDone is sent', '>Q <G >d <E >d >c <ZI', 'clean'],
    ['fails, and the CopyDone comes late', '>Q <G >d <E <ZI >d >c', 'clean'],
    ['fails, and the next query waits behind the late CopyDone', '>Q <G >d <E >c >Q <ZI', 'owed'],
    ['fails, and the next query is answered', '>Q <G >d <E >c >Q <ZI <C <ZI', 'clean'],
    ['fails, and the next query was sent without CopyDone', '>Q <G >d >Q <E <ZI', 'owed'],
    ['fails before it starts, with all data sent', '>Q >d >c <E <ZI', 'clean'],
    [
      'fails behind another query, and each Sync behind that is owed',
      '>Q >Q <G >S >S >S <E <ZI <C <ZI <ZI <ZI',
      'owed',
    ],
    [
      'fails behind another query, whose Syncs are answered',
      '>Q >Q <G >S >S >S <E <ZI <C <ZI <ZI <ZI <ZI',
      'clean',
    ],
    ['fails, and its Sync behind a request answered by us is in doubt', '>Q <G >+C >S <E <ZI', 'owed?'],
    ['fails, the next COPY succeeds', '>Q <G <E >c <ZI >Q <G >c >Q <C <ZI', 'owed'],
  ])('in the simple protocol %s', (_what, script, state) => {
    expect(stateAfter(script)).toBe(state);
  });

  it.each([
    ['swallows the Sync sent before CopyDone', '>P >B >E >S <1 <2 <G >d >c >S <C <ZI', 'clean'],
    ['swallows two of them', '>E >S <G >S >c >S <C <ZI', 'clean'],
    ['works without that Sync', '>P >B >E <1 <2 <G >d >c >S <C <ZI', 'clean'],
    ['is over with its Sync only', '>E >S <G >d >c >S <C', 'owed'],
    ['has no answer to its CopyDone', '>E >S <G >c >S >Q <C <ZI', 'owed'],
    ['fails before it starts: both Syncs are answered', '>E >S >d >c >S <E <ZI', 'owed'],
    ['fails before it starts: the second is the end', '>E >S >d >c >S <E <ZI <ZI', 'clean'],
    ['fails with no Sync before CopyDone', '>E <G >d >c >S <E <ZI', 'clean'],
    ['fails, and the CopyDone comes late', '>E <G >d <E >c >S <ZI', 'clean'],
    ['fails with a Sync before: who knows', '>E >S <G >d >c >S <E <ZI', 'clean?'],
    ['fails with a Sync before: both were answered', '>E >S <G >d >c >S <E <ZI <ZI', 'clean?'],
    ['is refused with a Sync before', '>E >S <G >d >f >S <E <ZI', 'clean?'],
    ['fails with a Sync before and none after', '>E >S <G >d <E', 'owed?'],
    ['fails, and the Sync taken for swallowed is answered', '>E >S <G >d <E <ZI', 'clean?'],
    ['fails: what follows that answer is owed', '>E >S <G <E >P <ZI', 'owed?'],
    ['fails: a stray ReadyForQuery ends no query', '>E >S <G >c >S >Q <E <ZI <ZI', 'owed?'],
    ['fails: that query ends with its own', '>E >S <G >c >S >Q <E <ZI <ZI <C <ZI', 'clean?'],
    ['fails: nor the one behind it', '>E >S <G >c >S >Q >Q <E <ZI <C <ZI <ZI', 'owed?'],
    ['fails, and its Sync behind a request answered by us is in doubt', '>E <G >+C >S <E', 'owed?'],
    ['fails: nor does it end a Parse', '>E >S <G >c >S >P <E <ZI <ZI', 'owed?'],
  ])('in the extended protocol %s', (_what, script, state) => {
    expect(stateAfter(script)).toBe(state);
  });

  it.each([
    ['completes', '>c >S <C <ZI', 'clean'],
    ['completes with its Sync to come', '>c <C', 'owed'],
    ['fails: who knows', '>c >S <E <ZI', 'clean?'],
  ])('that is sent Syncs and data without end keeps count of a few, and %s as ever', (_what, end, state) => {
    for (const more of ['>S', '>d >S', '>d >H']) {
      const { tracker } = play('>E >S <G');
      for (let i = 0; i < 100; i++) play(more, tracker);
      expect(tracker.queue.length, more).toBeLessThanOrEqual(4);
      expect(tracker.isQuiet).toBe(false);
      play(end, tracker);
      const now = tracker.isClean ? 'clean' : 'owed';
      expect(tracker.isUnsure ? `${now}?` : now, more).toBe(state);
    }
  });

  it('that fails behind Syncs without end is told as one that fails behind as many that count', () => {
    for (const [sent, isAmbiguous] of [
      ['>S >S >S >c', true],
      ['>S >S >d >d >c', false],
      ['>d >S >d >S >c', true],
      ['>S >d >S >d >S', true],
    ] as const) {
      const [before, amid] = [play(`>E ${sent} <G <E`).tracker, play(`>E <G ${sent} <E`).tracker];
      expect([amid.isUnsure, amid.isAmbiguous, before.isAmbiguous], sent).toEqual([
        true,
        isAmbiguous,
        isAmbiguous,
      ]);
      expect(amid.lost.readies).toBe(before.lost.readies);
    }
  });

  it('is over at the error: what follows is at rest only after ReadyForQuery', () => {
    expect(play('>Q <G').tracker.isCopyIn).toBe(true);
    expect(play('>Q <W').tracker.isCopyIn).toBe(true);
    expect(play('>Q <G <E').tracker.isCopyIn).toBe(false);
    expect(play('>Q <G >c <C').tracker.isCopyIn).toBe(false);
    expect(play('>Q <H').tracker.isCopyIn).toBe(false);
  });

  it('that goes on after an uncounted Sync keeps the connection', () => {
    expect(stateAfter('>E >S >E >S <G <E <ZI <G')).toBe('owed?');
    expect(stateAfter('>E >S >E >S <G <E <ZI <G <E')).toBe('owed?');
    expect(stateAfter('>E >S >E >S <G <E <ZI <G <E >S <ZI')).toBe('clean?');
  });
});

describe('COPY BOTH', () => {
  it.each([
    ['goes on whatever is sent and received', '>Q <W >d <d <d >d <N <d', 'owed'],
    ['goes on when the client has finished', '>Q <W <d >d >c <d <d', 'owed'],
    ['goes on when the server has finished', '>Q <W <d <c >d', 'owed'],
    ['is over at ReadyForQuery, the client having finished first', '>Q <W <d >c <d <c <C <ZI', 'clean'],
    ['is over at ReadyForQuery, the server having finished first', '>Q <W <d <c >c <C <ZI', 'clean'],
    ['may end with a row, as where the timeline has ended', '>Q <W <d <c >d >c <T <D <C <C <ZI', 'clean'],
    ['fails, and what the client sends late is nothing', '>Q <W <d >d <E >d >d <ZI >d >c', 'clean'],
    ['fails while the client finishes', '>Q <W >d >c <E <ZI', 'clean'],
    ['fails ahead of the next query', '>Q <W >d >c >Q <E <ZI', 'owed'],
    ['is over ahead of the next query', '>Q <W >d >c >Q <c <C <ZI <C <ZI', 'clean'],
    ['may begin in answer to Execute', '>E <W >d >c >S <c <C <ZI', 'clean'],
    [
      'is probed when an earlier Sync is answered after all, as in COPY IN',
      '>E >S <W >c <c <C <ZI',
      'clean?',
    ],
    ['may begin unasked, and is at rest only at the end', '<W', 'owed'],
  ])('%s', (_what, script, state) => {
    expect(stateAfter(script)).toBe(state);
  });

  it('streams from its beginning to ReadyForQuery, ahead of which it may be over', () => {
    const tracker = new RequestTracker();
    for (const [script, isStreaming, isOver] of [
      ['>Q', false, false],
      ['<W >d <d >c <c', true, false],
      ['<C', true, true],
      ['<ZI >Q <G', false, false],
      ['<E <ZI >Q <W', true, false],
      ['>d <E', true, true],
    ] as const) {
      const { isStreaming: streams, isStreamOver } = play(script, tracker).tracker;
      expect([streams, isStreamOver], script).toEqual([isStreaming, isOver]);
    }
    tracker.reset();
    expect([tracker.isStreaming, tracker.isStreamOver]).toEqual([false, false]);
  });
});

describe('ReadyForQuery that nobody asked for', () => {
  it.each([
    ['with nothing owed', '<ZI', 'clean?'],
    ['in place of ParseComplete', '>P >S <ZI', 'owed?'],
  ])('%s is forwarded, ends nothing, and has the connection probed', (_what, script, state) => {
    expect(stateAfter(script)).toBe(state);
    expect(play(script).seen.endsWith('ZI')).toBe(true);
  });
});

describe('what happens to the answers', () => {
  it.each([
    ['are forwarded', '>P >B >S <1 <2 <ZI', '1 2 ZI'],
    ['to a request of ours are swallowed', '>~P >B >S <1 <2 <ZI', '~1 2 ZI'],
    ['to a query of ours are swallowed whole', '>~Q <T <D <N <C <ZI', '~T ~D ~N ~C ~ZI'],
    ['to a failed query of ours are swallowed', '>~Q >Q <E <ZI <C <ZI', '~E ~ZI C ZI'],
    ['are forwarded where a server that skips says why it ends', '>~P >~S >Q <E <E', '~E E'],
    ['are forwarded behind a COPY that a request of ours ends', '>E >S <G >~P >~S >Q <E <E', 'G E E'],
    ['to pipelines of ours are swallowed, errors too', '>~C >~S >Q <E <ZI <C <ZI', '~E ~ZI C ZI'],
    ['report a failed request of ours whose Sync is the client’s', '>~P >B >E >S <E <ZI', 'E ZI'],
    ['report it when the Sync is still to come', '>~P >B <E >S <ZI', 'E ZI'],
    ['pass messages for all even while ours is answered', '>~Q <S <A <C <ZI', 'S A ~C ~ZI'],
    ['tell what is reported behind the failure of one', '>~B >~E >B >S <2 <E <S <ZE', '~2 E S ZE'],
    ['hide what executing a request of ours reports', '>~B >~E >B >S <2 <S <C <2 <S <ZI', '~2 ~S ~C 2 S ZI'],
    ['are synthesized in their order', '>B >+P >+C >B >S <2 <2 <ZI', '2 +p +c 2 ZI'],
    ['are synthesized behind a COPY that completes', '>Q <G >+C >d >c <C <ZI', 'G C ZI +c'],
    ['are synthesized behind one that fails', '>Q <G >+C >S <E <ZI', 'G E ZI +c'],
    ['are synthesized behind ReadyForQuery', '>S >+P >S <ZI <ZI', 'ZI +p ZI'],
    ['are not synthesized when an error skips them', '>B >+P >E >S <E <ZI', 'E ZI'],
    ['are synthesized behind the Sync of the error', '>B >S >+P >S <E <ZI <ZI', 'E ZI +p ZI'],
    ['are replaced', '>=D >S <t <T <ZI', 't =T ZI'],
    ['are not replaced by an error', '>=D >S <E <ZI', 'E ZI'],
  ])('they %s', (_what, script, seen) => {
    expect(play(script).seen).toBe(seen);
  });

  it('gives the bytes that replace one', () => {
    expect(play('>=P <1').tracker.replacement?.toString()).toBe('p');
  });

  it('does not count a synthesized answer as a request that is owed', () => {
    const { tracker } = play('>+P');
    expect(tracker.takeSynthesized()?.toString()).toBe('p');
    expect(tracker.isClean).toBe(true);
  });
});

it('a new client starts a new count', () => {
  for (const script of ['>P <E', '>Q >B', '>E >S <G >c >S <E <ZI', '>P <1', '>Q <G', '<C']) {
    const { tracker } = play(script);
    tracker.reset();
    expect([tracker.isClean, tracker.isUnsure, tracker.isCopyIn]).toEqual([true, false, false]);
    expect(play('>P >S >Q <1 <ZI', tracker).tracker.isClean).toBe(false);
  }
});
