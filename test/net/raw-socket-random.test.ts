import { connect, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import type { RawSocket } from '../../src/net/raw-socket.ts';
import { type Random, withSeed } from '../support/random.ts';
import { waitFor } from '../support/wait-for.ts';
import { ConnStage } from './conn-stage.ts';
import { SocketRecorder } from './socket-recorder.ts';

const STEPS = 1500;
const MOST = 12;

const stage = new ConnStage();

/** One connection: whatever goes over it, in either direction, is made of its own letter pair. */
interface Line {
  readonly mark: string;
  readonly raw: RawSocket;
  readonly heard: SocketRecorder;
  readonly peer: Socket;
  readonly fd: number;
  /** What Node has made of it. */
  node: Socket | null;
  got: string;
}

async function open(mark: string): Promise<Line> {
  const taken = new Promise<RawSocket>((resolve) => stage.acceptedRaw.push(resolve));
  const peer = connect({ port: stage.rawPort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  peer.on('error', () => {});
  const raw = await taken;
  stage.opened.push(peer, raw);
  const heard = new SocketRecorder();
  raw.owner = heard;
  const line: Line = { mark, raw, heard, peer, fd: raw.fd, node: null, got: '' };
  peer.on('data', (chunk: Buffer) => {
    line.got += chunk.toString('latin1');
  });
  raw.resume();
  return line;
}

const isOwn = (text: string, mark: string) => text === mark.repeat(text.length);

it('no byte ever reaches another connection, however they come and go, and numbers are used again', async () => {
  await withSeed(async (random) => {
    const all: Line[] = [];
    const live: Line[] = [];
    const numbers = new Map<number, number>();
    let next = 0;
    const pickAny = () => random.pick(all);
    const bytes = (line: Line) =>
      Buffer.alloc(random.below(10) === 0 ? 200_000 : 1 + random.below(300), line.mark);
    for (let step = 0; step < STEPS; step++) {
      if (live.length < 2 || (live.length < MOST && random.below(4) === 0)) {
        const line = await open(String.fromCharCode(33 + (next++ % 90)));
        numbers.set(line.fd, (numbers.get(line.fd) ?? 0) + 1);
        // What one hears may be another one's end.
        line.heard.on = () => {
          if (random.below(40) === 0) act(random, pickAny(), bytes);
        };
        all.push(line);
        live.push(line);
      } else act(random, random.below(5) === 0 ? pickAny() : random.pick(live), bytes);
      for (let i = live.length - 1; i >= 0; i--) {
        if ((live[i] as Line).raw.destroyed) live.splice(i, 1);
      }
      if (random.below(8) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    for (const { raw, node, peer } of all) {
      raw.destroy();
      node?.destroy();
      peer.resume();
      peer.end();
    }
    await waitFor(() => all.every(({ heard, node }) => node !== null || heard.log.includes('closed')), {
      what: 'every connection to hear that it is closed',
    });
    for (const { mark, heard, got } of all) {
      expect(isOwn(heard.text, mark), `a pooler's end heard what was not ${mark}`).toBe(true);
      expect(isOwn(got, mark), `a peer of ${mark} got something else`).toBe(true);
      expect(heard.log.filter((what) => what === 'closed').length).toBeLessThan(2);
    }
    expect(Math.max(...numbers.values())).toBeGreaterThan(1);
    expect(all.filter(({ got }) => got !== '').length).toBeGreaterThan(10);
  });
});

/** Something that somebody may do to a connection, dead or alive. */
function act(random: Random, line: Line, bytes: (line: Line) => Buffer): void {
  const { raw, peer } = line;
  switch (random.below(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
      if (!peer.destroyed && peer.writable) peer.write(bytes(line));
      break;
    case 4:
    case 5:
    case 6:
      raw.write(bytes(line));
      break;
    case 7:
      raw.pause();
      break;
    case 8:
      raw.resume();
      break;
    case 9:
      if (random.below(2) === 0) peer.pause();
      else peer.resume();
      break;
    case 10:
      raw.end(bytes(line));
      break;
    case 11:
      raw.destroySoon();
      break;
    case 12:
      peer.end();
      break;
    case 13:
      if (random.below(2) === 0) peer.resetAndDestroy();
      else peer.destroy();
      break;
    case 14:
      raw.destroy();
      break;
    default:
      // Node gives a number back at once.
      line.node?.destroy();
      if (raw.destroyed || random.below(3) > 0) break;
      line.node = raw.toNodeSocket();
      line.node.on('error', () => {});
      line.node.on('data', (chunk: Buffer) => {
        line.heard.text += chunk.toString('latin1');
      });
      stage.opened.push(line.node);
  }
}
