import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';

const run = promisify(execFile);
const ROLE = 'libpq_pipeline_app';
const ROUNDS = 5;
const USERS = 6;

const folder = mkdtempSync(join(tmpdir(), 'pgweir-c-'));
const program = join(folder, 'libpq-pipeline');

/** Why the program cannot be built here; null: it is there. */
function build(): string | null {
  const source = resolve(import.meta.dirname, '../support/libpq-pipeline.c');
  try {
    const ask = (what: string) => execFileSync('pg_config', [what], { encoding: 'utf8' }).trim();
    const flags = [`-I${ask('--includedir')}`, `-L${ask('--libdir')}`];
    execFileSync('cc', ['-Wall', '-Werror', '-o', program, source, ...flags, '-lpq'], { stdio: 'pipe' });
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const missing = build();
if (missing !== null) console.info(`libpq's pipeline mode is not tested: ${missing}`);

/** What libpq got, line by line. */
async function results(port: number, tag: string): Promise<string[]> {
  const where = `host=127.0.0.1 port=${port} dbname=postgres user=${ROLE} sslmode=disable gssencmode=disable`;
  const { stdout } = await run(program, [where, tag, String(ROUNDS)], { timeout: 60_000 });
  return stdout.trimEnd().split('\n');
}

beforeAll(() => createRole(sharedPostgres(), { name: ROLE, auth: 'trust' }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(missing !== null)('libpq’s pipeline mode', () => {
  test.each(['transaction', 'session'])('gets in %s mode what it gets from PostgreSQL', async (mode) => {
    await using pooler = await startPooler({
      settings: { pool_mode: mode, default_pool_size: mode === 'session' ? USERS : 2 },
      userlist: { [ROLE]: '' },
    });
    const expected = await results(sharedPostgres().port, 'tag');
    expect(expected.filter((line) => line.startsWith('PGRES_PIPELINE_ABORTED')).length).toBeGreaterThan(
      ROUNDS,
    );
    const tags = Array.from({ length: USERS }, (_, i) => `t${i}g`);
    const all = await Promise.all(tags.map((tag) => results(pooler.port, tag)));
    for (const [i, lines] of all.entries()) {
      expect(lines.map((line) => line.replaceAll(tags[i] as string, 'tag'))).toEqual(expected);
    }
  });
});
