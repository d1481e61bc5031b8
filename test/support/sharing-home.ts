import { readdirSync } from 'node:fs';
import { expect } from 'vitest';
import type { Section } from './pooler-config.ts';
import { connectTo } from './postgres.ts';
import { allowRoot, DaemonHome, type ProgramRun, runProgram } from './program.ts';

/** Of poolers that can be taken over from. */
export const sharing = { so_reuseport: 1, pool_mode: 'transaction' };

/** Runs the program with the home's configuration to its end. */
export function runIn(home: DaemonHome, ...args: string[]): Promise<ProgramRun> {
  return runProgram([...args, home.iniPath], { env: allowRoot });
}

/** A pooler that runs. */
export async function startSharing(more: Section = {}): Promise<DaemonHome> {
  const home = await DaemonHome.make({ settings: { ...sharing, ...more } });
  await home.start();
  return home;
}

/** What belongs to poolers in a home: no name must be left behind that nobody looks after. */
export function namesLeft(home: DaemonHome): string[] {
  return readdirSync(home.folder)
    .filter((name) => name.startsWith('.') || name.startsWith('pooler.pid'))
    .sort();
}

/** A client is served. */
export async function expectServed(home: DaemonHome, host = '127.0.0.1'): Promise<void> {
  const client = await connectTo({ ...home.address, host });
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  await client.end();
}
