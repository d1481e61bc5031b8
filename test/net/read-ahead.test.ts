import { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { beforeEach, describe, expect, it } from 'vitest';
import { openNative } from '../../src/net/native.ts';
import { SLOT_BYTES } from '../../src/net/native-batch.ts';
import { RawSocket } from '../../src/net/raw-socket.ts';
import { lacking } from '../support/lacking.ts';
import { waitFor } from '../support/wait-for.ts';
import { HeldStage, type Kind, type Line, nextTurn } from './held-stage.ts';

const batching = new HeldStage();
const single = new HeldStage(openNative(() => lacking('syscall')));

describe.runIf(process.platform === 'linux').each<[Kind, string, HeldStage]>([
  ['raw', 'batches', batching],
  ['node', 'batches', batching],
  ['raw', 'calls of their own', single],
  ['node', 'calls of their own', single],
])('of connections (%s) that are ready together, read by %s,', (kind, _how, stage) => {
  let lines: [Line, Line, Line];
  const isBatching = stage === batching;

  beforeEach(async () => {
    lines = (await stage.openAll('raw', kind, kind)) as [Line, Line, Line];
    for (const [i, { peer }] of lines.entries()) peer.write(`of ${i}.`);
  });

  const texts = () => lines.map(({ text }) => text);

  it('each hears its own, by one system call', async () => {
    await stage.round(lines);
    expect([texts(), stage.reads]).toEqual([['of 0.', 'of 1.', 'of 2.'], isBatching ? [3] : []]);
  });

  it('one that an earlier turn has paused hears its bytes when it goes on, ahead of later ones', async () => {
    const [first, second] = lines;
    first.on = () => second.conn.pause();
    await stage.round(lines);
    await nextTurn();
    expect(texts()).toEqual(['of 0.', '', 'of 2.']);
    second.peer.write('later');
    second.conn.resume();
    if (!isBatching) await stage.round([second]);
    await nextTurn();
    expect(second.text.slice(0, 5)).toBe('of 1.');
    if (second.text === 'of 1.') await stage.round([second]);
    expect([second.text, second.conn.bytesRead]).toEqual(['of 1.later', 10]);
  });

  it('one that was paused and went on in the same round hears its bytes once, without another event', async () => {
    const [first, second, third] = lines;
    first.on = () => second.conn.pause();
    third.on = () => second.conn.resume();
    await stage.round([first, third, second]);
    if (!isBatching) await stage.round([second]);
    await nextTurn();
    expect([texts(), stage.isReady(second.fd)]).toEqual([['of 0.', 'of 1.', 'of 2.'], false]);
  });

  it.each([
    '',
    ' and the end',
  ])('one that was kept hears that first, although more%s is ready with others’', async (more) => {
    const [first, second] = lines;
    first.on = () => second.conn.pause();
    await stage.round(lines);
    await nextTurn();
    first.on = () => {};
    second.peer.write('later');
    if (more !== '') second.peer.end('last');
    first.peer.write('x');
    await waitFor(() => stage.isReady(first.fd));
    if (more !== '') await waitFor(() => stage.native.hasPeerLeft(second.conn.socket));
    // Not a turn later.
    second.conn.resume();
    await stage.round([first, second], more === '' ? [] : [second]);
    while (!second.text.endsWith(more === '' ? 'later' : 'last')) {
      if (stage.isReady(second.fd)) await stage.round([second]);
      await nextTurn();
    }
    expect(second.text).toBe(more === '' ? 'of 1.later' : 'of 1.laterlast');
  });

  it('one that was suspended hears its bytes once it is woken', async () => {
    const [first, second] = lines;
    first.on = () => second.conn.suspend(() => true);
    await stage.round(lines);
    await nextTurn();
    expect([second.text, second.conn.isSuspended]).toEqual(['', true]);
    second.conn.wake();
    if (!isBatching) await stage.round([second]);
    await nextTurn();
    expect(second.text).toBe('of 1.');
  });

  it('one that was paused with bytes for a slow peer hears its own when it goes on', async () => {
    const [first, second] = lines;
    second.peer.pause();
    const chunk = 'x'.repeat(100_000);
    let written = 0;
    for (; second.conn.pendingBytes === 0; written += chunk.length) second.write(chunk);
    first.on = () => second.conn.pause();
    await stage.round(lines);
    await nextTurn();
    expect(second.text).toBe('');
    second.conn.resume();
    if (!isBatching) await stage.round([second]);
    await nextTurn();
    expect(second.text).toBe('of 1.');
    expect(second.conn.pendingBytes).toBeGreaterThan(0);
    second.peer.resume();
    if (kind === 'raw') {
      while (second.conn.pendingBytes > 0) await stage.round([second]);
    }
    await waitFor(() => second.got.length === written);
  });

  it('one that goes on with bytes for a slow peer that came since hears its own', async () => {
    const [first, second] = lines;
    first.on = () => second.conn.pause();
    await stage.round(lines);
    await nextTurn();
    second.peer.pause();
    while (second.conn.pendingBytes === 0) second.write('x'.repeat(100_000));
    await nextTurn();
    second.conn.resume();
    if (!isBatching) await stage.round([second]);
    await nextTurn();
    expect(second.text).toBe('of 1.');
  });

  it('one that was destroyed hears nothing, nor does who has its number', async () => {
    const [first, second, third] = lines;
    const { peer, accepted } = await stage.sockets();
    const number = second.fd;
    let heir: Line | null = null;
    first.on = () => {
      second.conn.destroy();
      // A raw one's is closed behind the round.
      if (kind === 'node') heir = stage.line(peer, stage.raw(accepted));
    };
    await stage.round([first, second, third]);
    heir ??= stage.line(peer, stage.raw(accepted));
    expect((heir as Line).fd).toBe(number);
    await nextTurn();
    expect([texts(), heir.text]).toEqual([['of 0.', '', 'of 2.'], '']);
    peer.write('own');
    await stage.round([heir]);
    expect(heir.text).toBe('own');
    await waitFor(() => second.log.includes('closed'));
  });

  it('one that is read in another one’s turn hears its bytes there, ahead of what has come since, and once', async () => {
    const [first, second] = lines;
    let at = '';
    first.on = () => {
      second.conn.readNow();
      at = second.text;
    };
    await stage.round(lines);
    await nextTurn();
    expect([at, ...texts()]).toEqual(['of 1.', 'of 0.', 'of 1.', 'of 2.']);
  });

  it('one that was kept is read on in order', async () => {
    const [first, second] = lines;
    first.on = () => second.conn.pause();
    await stage.round(lines);
    second.peer.write('later');
    second.conn.resume();
    await waitFor(() => {
      second.conn.readNow();
      return second.text.length >= 10;
    });
    expect(second.text).toBe('of 1.later');
    await nextTurn();
    expect(second.text).toBe('of 1.later');
  });

  it('one is let go of only once it is caught up, and nothing is lost to who has its other descriptor', async () => {
    const [first, second] = lines;
    let fd: number | null = null;
    first.on = () => {
      second.conn.readNow();
      expect(second.text).toBe('of 1.');
      second.write('bye');
      fd = second.conn.detach();
    };
    await stage.round(lines);
    await waitFor(() => second.got === 'bye');
    expect(fd).not.toBe(null);
    second.peer.write('rest');
    const heir = stage.line(second.peer, new RawSocket(stage.readiness, fd as unknown as number, null));
    await stage.round([heir]);
    expect([heir.text, second.text]).toEqual(['rest', 'of 1.']);
  });

  it('one is not let go of while it has unread bytes', async () => {
    const [first, second] = lines;
    first.on = () => {
      second.conn.pause();
      second.conn.readNow();
      expect(second.conn.detach()).toBe(null);
    };
    await stage.round(lines);
    second.conn.resume();
    if (!isBatching) await stage.round([second]);
    await nextTurn();
    expect(second.text).toBe('of 1.');
  });

  it('one that goes over to TLS gives the stream below what was read, behind what it has seen', async () => {
    const [first, second] = lines;
    let below = '';
    first.on = () => {
      second.conn.startTls(
        {
          wrap: (plain) => {
            plain.on('data', (chunk: Buffer) => {
              below += chunk.toString('latin1');
            });
            plain.resume();
            // Stands for the TLS socket.
            return new Socket().on('close', () => plain.destroy()) as TLSSocket;
          },
          readyEvent: 'secure',
          secured: () => {},
        },
        Buffer.from('seen:'),
      );
    };
    await stage.round(lines);
    second.peer.write('later');
    await waitFor(() => below.length >= 15);
    expect([below, second.text]).toEqual(['seen:of 1.later', '']);
  });

  it('one hears what it was told before its peer went, although a write comes to nothing first', async () => {
    const [first, second, third] = lines;
    first.on = () => {
      second.peer.destroy();
      // Two, for the first one's answer is the reset.
      for (let i = 0; i < 2; i++) second.write('too late');
    };
    await stage.round([first, third, second]);
    await waitFor(() => {
      second.write('too late');
      return second.conn.isClosed || second.log.length > 0 || second.text !== '';
    });
    await nextTurn();
    expect([first.text, third.text]).toEqual(['of 0.', 'of 2.']);
    expect(second.text).toBe('of 1.');
  });

  it('all hear their bytes although one of them throws, which is cut', async () => {
    const [first, second, third] = lines;
    first.on = () => {
      throw new Error('a bug');
    };
    await stage.round(lines);
    await nextTurn();
    expect([second.text, third.text, first.faults.length]).toEqual(['of 1.', 'of 2.', 1]);
    await waitFor(() => first.log.includes('closed'));
  });

  it('all hear their bytes although something below a handler throws', async () => {
    const [first, second, third] = lines;
    const { owner } = first.conn.socket as RawSocket;
    (first.conn.socket as RawSocket).owner = {
      socketBytes() {
        throw new Error('a bug below');
      },
      socketEnded() {},
      socketDrained() {},
      socketClosed: (error) => owner?.socketClosed(error),
    };
    await expect(stage.round(lines)).rejects.toThrow('a bug below');
    if (!isBatching) await stage.round([second, third]);
    await nextTurn();
    expect([second.text, third.text]).toEqual(['of 1.', 'of 2.']);
  });

  it('one with more than a slot hears all of it in order', async () => {
    const [first, second, third] = lines;
    const sent = Array.from({ length: 60_000 }, (_, i) => String.fromCharCode(33 + (i % 89))).join('');
    second.peer.write(sent);
    const length = 5 + sent.length;
    let i = 0;
    first.on = () => {
      if (i % 3 === 1) second.conn.pause();
    };
    third.on = () => {
      if (i % 3 === 2) second.conn.readNow();
    };
    for (; second.text.length < length; i++) {
      await waitFor(() => stage.isReady(second.fd));
      first.peer.write('x');
      third.peer.write('x');
      await stage.round(i % 2 === 0 ? [first, second, third] : [third, first, second]);
      second.conn.resume();
      await nextTurn();
      expect(`of 1.${sent}`.startsWith(second.text)).toBe(true);
    }
    expect(second.text).toBe(`of 1.${sent}`);
    expect(second.conn.bytesRead).toBe(length);
    if (isBatching) expect(stage.reads.length).toBeGreaterThan(0);
    expect(length).toBeGreaterThan(2 * SLOT_BYTES);
  });

  it.each(['told in its turn', 'kept'])('one hears the end behind its bytes, %s', async (when) => {
    const [first, second] = lines;
    if (when === 'kept') first.on = () => second.conn.pause();
    await stage.round(lines);
    first.on = () => {};
    second.peer.end('last.');
    if (when === 'kept') second.conn.resume();
    await waitFor(() => stage.native.hasPeerLeft(second.conn.socket));
    first.peer.write('more');
    await stage.round([first, second], [second]);
    second.conn.resume();
    await nextTurn();
    if (kind === 'raw' && stage.isReady(second.fd)) await stage.round([second], [second]);
    await waitFor(() => second.log.includes('ended'));
    expect([second.text, second.log]).toEqual(['of 1.last.', ['ended']]);
  });
});
