import { setTimeout as delay } from 'node:timers/promises';
import { allowOpenFiles } from './open-files.ts';
import { processMemory } from './process-cost.ts';
import { RawClient } from './raw-client.ts';
import type { RunningSystem } from './systems.ts';

/** Clients that are there before memory is read for the first time: code and first buffers are no client's. */
const clientsAhead = 200;

/** Clients that log in at a time. */
const loginsAtATime = 50;

/** Memory is at rest when it moves by less than this share from one look to the next. */
const restShare = 0.002;
const lookMs = 400;
const restDeadlineMs = 6000;

/** Files of ours beside the clients. */
const spareFiles = 250;

/** What idle clients take. Bytes. */
export interface IdleResult {
  /** Growth of resident memory over that with 200 clients, by client. */
  readonly bytesPerClient: number;
  /** Of the pooler, with all of them. */
  readonly residentBytes: number;
}

function resident({ child }: RunningSystem): number {
  const bytes = child === null ? null : processMemory(child.pid);
  if (bytes === null) throw new Error('takes a pooler and a /proc');
  return bytes;
}

/** Memory once it stays as it is; what it is after six seconds where it doesn't. */
async function residentAtRest(system: RunningSystem): Promise<number> {
  const deadline = performance.now() + restDeadlineMs;
  for (let before = resident(system); ; ) {
    await delay(lookMs);
    const now = resident(system);
    if (Math.abs(now - before) <= before * restShare || performance.now() > deadline) return now;
    before = now;
  }
}

/**
 * Has `clients` clients log in to a pooler just started, beside 200 ahead of them, and say nothing. Clients never had
 * a server connection. Errors: rejects with the reason when one of them doesn't get in, or files are too few.
 */
export async function measureIdle(system: RunningSystem, clients: number): Promise<IdleResult> {
  allowOpenFiles(clients + clientsAhead + spareFiles);
  const open: RawClient[] = [];
  const logIn = async (count: number): Promise<void> => {
    let left = count;
    const oneAfterAnother = async (): Promise<void> => {
      while (left-- > 0) open.push(await RawClient.connect(system.target));
    };
    await Promise.all(Array.from({ length: loginsAtATime }, oneAfterAnother));
  };
  try {
    await logIn(clientsAhead);
    const before = await residentAtRest(system);
    await logIn(clients);
    const residentBytes = await residentAtRest(system);
    const lost = open.filter((client) => !client.isOpen).length;
    if (lost > 0) throw new Error(`${lost} of ${open.length} clients were cut`);
    return { bytesPerClient: (residentBytes - before) / clients, residentBytes };
  } finally {
    for (const client of open) client.end();
  }
}

/** Clients that a pooler must let in at a time for this. */
export function idlePlaces(clients: number): number {
  return clients + clientsAhead;
}
