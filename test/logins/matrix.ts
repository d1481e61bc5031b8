import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import type { Random } from '../support/random.ts';
import type { Expected } from './client-table.ts';
import type { Outcome } from './clients.ts';
import { byEffort, isFull, isOfFaults } from '../support/effort.ts';

/** Whether the whole product is tried, instead of a part that covers it: that takes half an hour and more. */
const isWhole = process.env['PGWEIR_TEST_LOGINS'] === 'all';

/** Beside the part that covers, drawn by chance. */
export const MORE = byEffort({ wide: 15, full: 1000 });

/**
 * `npm run test:wide` has time for one in so many of them, another part each time; faults and the long run have it for all. In that
 * run each method occurs with each kind of secret in each TLS mode by each program: some 17,000 logins.
 */
export const PART = isWhole || isOfFaults ? 1 : byEffort({ wide: 4, full: 1 });

/** How long the logins of one pooler may take. */
export const PLAN_TIMEOUT_MS = isWhole ? 3_600_000 : isFull ? 900_000 : 60_000;

/** What there is to try. */
export interface Product<T> {
  readonly cases: readonly T[];
  /** What has to be covered of a case. */
  keysOf(one: T): readonly string[];
  /** What it shows, whichever client shows it. */
  cellOf(one: T): string;
  /** Of which sort it is: by which program, and how it ends. A part has its share of each. */
  sortOf(one: T): string;
}

/**
 * Cases in which each key of the product's occurs at least once, and `more` beside them, drawn by chance. Of the whole:
 * each cell once, by a client drawn by chance, and what else the keys ask for. Order is by chance, too. Of these, of each
 * sort, one in {@link PART}.
 */
export function covering<T>(product: Product<T>, more: number, random: Random): T[] {
  const { cases, keysOf, cellOf, sortOf } = product;
  const shuffled = [...cases];
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [shuffled[i], shuffled[j]] = [shuffled[j] as T, shuffled[i] as T];
  }
  const seen = new Set<string>();
  let left = more;
  const covered = shuffled.filter((one) => {
    const all = isWhole ? [...keysOf(one), `cell ${cellOf(one)}`] : keysOf(one);
    const keys = all.filter((key) => !seen.has(key));
    for (const key of keys) seen.add(key);
    return keys.length > 0 || left-- > 0;
  });
  const counts = new Map<string, number>();
  return covered.filter((one) => {
    const sort = sortOf(one);
    const count = counts.get(sort) ?? 0;
    counts.set(sort, count + 1);
    return count % PART === 0;
  });
}

/** Runs `work` on each, at most `limit` at a time. */
export async function eachOf<T>(
  all: readonly T[],
  limit: number,
  work: (one: T) => Promise<void>,
): Promise<void> {
  const rest = all.values();
  const worker = async (): Promise<void> => {
    for (const one of rest) await work(one);
  };
  await Promise.all(Array.from({ length: limit }, worker));
}

/** What is wrong with an outcome, or null; `who`: as whom one is let in. */
export function differenceOf(outcome: Outcome, expected: Expected, who: string): string | null {
  const got = JSON.stringify(outcome);
  switch (expected.kind) {
    case 'in':
      return got === JSON.stringify({ kind: 'in', who, isEncrypted: expected.isEncrypted }) ? null : got;
    case 'refused':
      return got === JSON.stringify(expected) ? null : got;
    case 'gone':
      return outcome.kind === 'gone' && expected.text.test(outcome.text) ? null : got;
  }
}

/** What PostgreSQL stores of a password by MD5. */
export function md5Secret(password: string, user: string): string {
  return `md5${createHash('md5').update(`${password}${user}`).digest('hex')}`;
}

/** What PostgreSQL stores of an ASCII password by SCRAM; the same each time. Source: manual, `catalog-pg-authid`. */
export function scramSecret(password: string): string {
  const iterations = 4096;
  const salt = createHash('md5').update(`salt of ${password}`).digest();
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const key = (text: string) => createHmac('sha256', salted).update(text).digest();
  const stored = createHash('sha256').update(key('Client Key')).digest('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${key('Server Key').toString('base64')}`;
}
