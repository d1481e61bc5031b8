import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { beforeEach, describe, expect, it } from 'vitest';
import type { TlsServerContext } from '../../src/net/native-tls.ts';
import { openNative } from '../../src/net/native.ts';
import { makeCertificate } from '../support/certificates.ts';
import { lacking } from '../support/lacking.ts';
import { contextParts } from '../support/tls-context.ts';
import { waitFor } from '../support/wait-for.ts';
import { HeldStage, type Kind, type Line, nextTurn } from './held-stage.ts';

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;

const batching = new HeldStage();
const single = new HeldStage(openNative(() => lacking('syscall')));

/** So many bytes that say where they are. */
function counted(bytes: number, from = 0): string {
  let text = '';
  for (let at = from; text.length < bytes; at = from + text.length) text += `${at},`;
  return text.slice(0, bytes);
}

describe.runIf(process.platform === 'linux').each<[Kind, string, HeldStage]>([
  ['raw', 'batches', batching],
  ['node', 'batches', batching],
  ['raw', 'calls of their own', single],
  ['node', 'calls of their own', single],
])('of connections (%s) that are written to in one round, by %s,', (kind, _how, stage) => {
  let drivers: [Line, Line];
  let one: Line;
  let two: Line;
  const isBatching = stage === batching;

  beforeEach(async () => {
    drivers = (await stage.openAll('raw', 'raw')) as [Line, Line];
    [one, two] = (await stage.openAll(kind, kind)) as [Line, Line];
  });

  /** Has `first` done in the turn of one that is ready together with another one, and `second` in that one's. */
  async function together(first: () => void, second: () => void = () => {}): Promise<void> {
    drivers[0].on = first;
    drivers[1].on = second;
    for (const { peer } of drivers) peer.write('.');
    await stage.round(drivers);
    for (const driver of drivers) driver.on = () => {};
    for (const { faults } of drivers.filter((driver) => driver.faults.length > 0)) throw faults[0];
  }

  /** Until nothing waits for the peer, whom `line` has to itself. */
  async function drain(line: Line): Promise<void> {
    line.peer.resume();
    while (line.conn.pendingBytes > 0) {
      if (kind === 'raw') await stage.round([line]);
      else await nextTurn();
    }
  }

  /** Until the peer has so many bytes. */
  async function gets(line: Line, bytes: number): Promise<void> {
    await waitFor(async () => {
      await drain(line);
      return line.got.length >= bytes;
    });
  }

  /** Leaves little room in the kernel, and nothing that makes some. */
  function slow(line: Line): void {
    line.peer.pause();
    stage.native.setOption(line.conn.socket, SOL_SOCKET, SO_SNDBUF, 4096);
  }

  /** Writes in rounds until the kernel has taken less; gives what was written. `ask`: asks in each how many wait. */
  async function fill(line: Line, ask = false): Promise<string> {
    let text = '';
    let asked = 0;
    for (let round = 0; line.conn.pendingBytes === 0; round++) {
      await together(() => {
        two.write(`${round},`);
        for (let i = 0; i < 7; i++) {
          const more = counted(8000, text.length);
          text += more;
          line.write(more);
        }
        if (ask) asked = line.conn.pendingBytes;
      });
      if (ask) expect(asked).toBe(line.conn.pendingBytes);
      if (round > 1000) throw new Error('the kernel takes all');
    }
    return text;
  }

  it('each gets its own in order, where others’ stand in between', async () => {
    const chunk = Buffer.from('..borrowed..');
    await together(
      () => {
        one.write('1');
        one.write('2');
        two.write('x');
        one.write('3');
        two.write('');
        one.conn.forward(chunk, 2, 10);
        chunk.fill('!');
      },
      () => {
        two.write('y');
        one.write('4');
      },
    );
    await waitFor(() => one.got.length >= 12 && two.got.length >= 2);
    expect([one.got, two.got]).toEqual(['123borrowed4', 'xy']);
    if (isBatching) expect(Math.max(...stage.writes)).toBe(2);
  });

  it.each(['alone', 'with another one'])('large ones keep their place among small ones, %s', async (how) => {
    const sizes = [10, 20_000, 5, 8192, 8193, 1, 8192, 8192, 8192, 3, 100_000, 7];
    let text = '';
    await together(() => {
      for (const size of sizes) {
        const more = counted(size, text.length);
        text += more;
        one.write(more);
        if (how !== 'alone') two.write('x');
      }
    });
    await gets(one, text.length);
    expect(one.got === text).toBe(true);
    await waitFor(() => two.got === (how === 'alone' ? '' : 'x'.repeat(sizes.length)));
  });

  it('one whose peer is slow has what the kernel did not take queued, and what follows behind it', async () => {
    slow(one);
    let text = await fill(one);
    await together(() => {
      for (const size of [3, 9000, 4]) {
        const more = counted(size, text.length);
        text += more;
        one.write(more);
        two.write('-');
      }
    });
    await drain(one);
    await together(() => {
      const more = counted(5, text.length);
      text += more;
      one.write(more);
      two.write('.');
    });
    await gets(one, text.length);
    await waitFor(() => two.got.endsWith('.'));
    expect(one.got === text).toBe(true);
    expect(two.got).toMatch(/^(\d+,)+---\.$/);
    expect(two.got.split(',').slice(0, -1).map(Number)).toEqual(
      Array.from({ length: two.got.split(',').length - 1 }, (_, i) => i),
    );
  });

  it('one whose peer is slow knows exactly how many bytes wait, in the midst of the round, too', async () => {
    slow(one);
    let text = await fill(one, true);
    const pending = one.conn.pendingBytes;
    let inside = -1;
    await together(() => {
      one.write('1234567');
      inside = one.conn.pendingBytes;
      two.write('x');
      expect(two.conn.pendingBytes).toBe(0);
    });
    text += '1234567';
    expect(inside).toBe(pending + 7);
    // Of a raw one nothing more is sent than what the kernel has taken.
    one.peer.resume();
    if (kind === 'raw') {
      await waitFor(() => one.got.length === text.length - inside);
      expect(text.startsWith(one.got)).toBe(true);
    }
    await gets(one, text.length);
    expect(one.got === text).toBe(true);
  });

  it('one whose peer is slow and that is ended has its peer get all, and then the end', async () => {
    slow(one);
    let text = '';
    await together(() => {
      for (let i = 0; i < 100; i++) {
        const more = counted(8000, text.length);
        text += more;
        one.write(more);
        if (i % 3 === 0) two.write('x');
      }
      one.conn.end(Buffer.from('last'));
    });
    one.peer.resume();
    while (one.got.length < text.length + 4) {
      if (kind === 'raw' && stage.isReady(one.fd)) await stage.round([one]);
      await nextTurn();
    }
    await waitFor(() => one.hasPeerEnded);
    expect(one.got === `${text}last`).toBe(true);
  });

  const endings: Record<string, (line: Line) => void> = {
    'ended with last words': ({ conn }) => conn.end(Buffer.from('!')),
    ended: ({ conn }) => conn.end(),
    'cut behind its last words': ({ conn }) => conn.endAndDestroy(Buffer.from('!')),
    'cut behind what was written': ({ conn }) => conn.endAndDestroy(),
    cut: ({ conn }) => conn.destroy(),
    'cut for a handler that throws': (line) => {
      line.on = () => {
        line.write('?');
        throw new Error('a bug');
      };
      line.peer.write('.');
    },
  };

  it.each(
    Object.entries(endings),
  )('one that is %s has its peer get all, and then the end', async (how, end) => {
    const last = how.includes('last words') ? '!' : '';
    if (how.includes('handler')) {
      end(one);
      drivers[0].peer.write('.');
      drivers[0].on = () => {
        one.write('1');
        two.write('x');
        one.write('2');
      };
      await stage.round([drivers[0], one]);
    } else {
      await together(() => {
        one.write('1');
        two.write('x');
        one.write('2');
        // The second has had the first written; this one waits.
        one.write('3');
        end(one);
        one.write('too late');
        two.write('y');
      });
    }
    await waitFor(() => one.hasPeerEnded && two.got.startsWith('x'));
    expect(one.got).toBe(how.includes('handler') ? '12?' : `123${last}`);
    await waitFor(() => two.got === (how.includes('handler') ? 'x' : 'xy'));
  });

  it('one that is suspended is so once its bytes are out', async () => {
    slow(one);
    const text = await fill(one);
    await drain(one);
    one.peer.pause();
    let written = text.length;
    await together(() => {
      for (let i = 0; i < 100; i++) one.write(counted(8000));
      written += 800_000;
      one.conn.suspend(() => true);
      // What waits for the peer is to go first.
      expect(one.conn.isSuspended).toBe(false);
      two.write('x');
      two.conn.suspend(() => true);
      expect(two.conn.isSuspended).toBe(true);
    });
    await gets(one, written);
    await waitFor(() => two.got.endsWith('x'));
    expect(one.got.length).toBe(written);
  });

  it('one that is let go of has its bytes out first, and no end', async () => {
    let fd: number | null = null;
    await together(() => {
      one.conn.readNow();
      two.write('x');
      one.write('mine');
      fd = one.conn.detach();
    });
    if (fd === null) throw new Error('not let go of');
    await waitFor(() => one.log.length > 0 || one.conn.isClosed);
    const theirs = Buffer.from(' theirs');
    expect(stage.native.write(fd, theirs, 0, theirs.length)).toBe(theirs.length);
    await waitFor(() => one.got.length >= 11);
    expect([one.got, one.hasPeerEnded]).toEqual(['mine theirs', false]);
    closeSync(fd);
    await waitFor(() => one.hasPeerEnded);
  });

  it('one that goes over to TLS has its bytes out in the clear first', async () => {
    await together(() => {
      two.write('x');
      one.write('S');
      one.conn.startTls(
        {
          wrap(plain) {
            plain.write('hello');
            return new Socket().on('close', () => plain.destroy()) as TLSSocket;
          },
          readyEvent: 'secure',
          secured: () => {},
        },
        null,
      );
    });
    await waitFor(() => one.got.length >= 6);
    expect(one.got).toBe('Shello');
  });

  it.each(['', ', unread'])('others get theirs beside one whose peer is gone%s', async (how) => {
    if (how !== '') one.conn.pause();
    one.peer.resetAndDestroy();
    await waitFor(() => stage.native.hasPeerLeft(one.conn.socket));
    for (let round = 0; round < 3; round++) {
      await together(() => {
        two.write('x');
        one.write('to nobody');
        two.write('y');
        one.write('at all');
        drivers[1].write('z');
      });
    }
    await waitFor(() => two.got.length >= 6 && drivers[1].got.length >= 3);
    expect([two.got, drivers[1].got]).toEqual(['xyxyxy', 'zzz']);
    if (kind === 'raw' && !one.conn.isClosed) await stage.round([one], [one]);
    if (kind === 'raw') await nextTurn();
    await waitFor(() => one.conn.isClosed || one.log.includes('ended'));
  });

  it.each([
    'closed by its owner',
    'gone',
  ])('who has the number of one that is %s gets no byte of it', async (how) => {
    const { peer, accepted } = await stage.sockets();
    const number = one.fd;
    let heir: Line | null = null;
    await together(
      () => {
        two.write('x');
        one.write('old');
        if (how === 'gone') one.conn.socket.destroy();
        else one.conn.destroy();
        one.write('older');
        // A raw one's is closed behind the round.
        if (kind === 'node') heir = stage.line(peer, stage.raw(accepted));
        heir?.write('n');
      },
      () => {
        heir?.write('e');
        two.write('y');
      },
    );
    if (heir === null) {
      heir = stage.line(peer, stage.raw(accepted));
      (heir as Line).write('ne');
    }
    const taker = heir as Line;
    expect(taker.fd).toBe(number);
    taker.write('w');
    await waitFor(() => taker.got.length >= 3 && two.got.length >= 2 && one.hasPeerEnded);
    expect([taker.got, two.got]).toEqual(['new', 'xy']);
    if (how !== 'gone') expect(one.got).toBe('old');
  });

  it('many, and much, all get theirs', async () => {
    const lines = await stage.openAll(...Array.from({ length: 40 }, () => kind));
    const text = (i: number) => counted(1 + ((i * 997) % 9000), i * 10_000);
    await together(
      () => {
        for (const [i, line] of lines.entries()) line.write(text(i));
      },
      () => {
        for (const line of lines) line.write('a');
        for (const line of lines) line.write('b');
      },
    );
    await waitFor(() => lines.every(({ got }, i) => got.length >= text(i).length + 2));
    expect(lines.map(({ got }) => got)).toEqual(lines.map((_, i) => `${text(i)}ab`));
    if (isBatching) expect(Math.max(...stage.writes)).toBe(32);
  });

  it('what is written together with nobody else ready goes by one call', async () => {
    one.conn.together(() => {
      one.write('a');
      one.conn.together(() => one.write('b'));
      one.write('c');
    });
    await waitFor(() => one.got.length >= 3);
    expect([one.got, stage.lone, stage.writes]).toEqual(['abc', isBatching ? 1 : 3, []]);
  });

  it.each<[string, (line: Line) => void]>([
    ['ends', (line) => line.conn.endAndDestroy(Buffer.from('c'))],
    ['is cut', (line) => line.conn.destroy()],
  ])('what was written together reaches the peer of one that %s meanwhile', async (how, ends) => {
    one.conn.together(() => {
      one.write('a');
      one.write('b');
      ends(one);
      one.write('d');
    });
    await waitFor(() => one.isPeerClosed || one.hasPeerEnded);
    expect(one.got).toBe(how === 'ends' ? 'abc' : 'ab');
  });

  it('and so where it fails on the way, and the next writes are calls of their own', async () => {
    const fails = () =>
      one.conn.together(() => {
        one.write('a');
        throw new Error('a bug');
      });
    expect(fails).toThrow('a bug');
    expect(stage.lone).toBe(1);
    two.write('x');
    expect(stage.lone).toBe(2);
    await waitFor(() => one.got === 'a' && two.got === 'x');
  });
});

it.runIf(process.platform === 'linux')(
  'what is wrong with a client’s TLS is said to it, with others ready, too',
  async () => {
    const context = batching.native.tls.serverContext(contextParts(makeCertificate())) as TlsServerContext;
    const [line, other] = (await batching.openAll('raw', 'raw')) as [Line, Line];
    line.conn.startTls(
      {
        inPlace: { session: () => context.accept(), secured() {} },
        wrap() {
          throw new Error('not in place');
        },
        readyEvent: 'secure',
        secured() {},
      },
      null,
    );
    // A ServerHello, which no client says.
    line.peer.write(Buffer.from([0x16, 3, 1, 0, 4, 2, 0, 0, 0]));
    other.peer.write('.');
    await batching.round([line, other]);
    await waitFor(() => line.isPeerClosed || line.hasPeerEnded);
    // An alert.
    expect(line.got.charCodeAt(0)).toBe(0x15);
  },
);
