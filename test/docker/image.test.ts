import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, type TestContext } from 'vitest';
import { DockerComposeEnvironment, type StartedDockerComposeEnvironment, Wait } from 'testcontainers';
import { freePort, type PostgresAddress } from '../../src/cli/start/postgres.ts';
import { whyNoCompose, whyNoImages } from '../support/containers.ts';
import { connectTo } from '../support/postgres.ts';
import { ProjectCopy } from '../support/project-copy.ts';
import { within } from '../support/wait-for.ts';
import { skip } from '../support/skip.ts';

/** What docker/compose.yaml makes, where a Docker engine answers; elsewhere dockerfile.test.ts has to do. */
let trouble: string | null = null;
let copy: ProjectCopy | null = null;
let environment: StartedDockerComposeEnvironment | null = null;
let address: PostgresAddress;

const PASSWORD = 'image test';
const BUILD_DEADLINE_MS = 600_000;

beforeAll(async () => {
  trouble = (await whyNoImages(['node:26-slim', 'postgres:18'])) ?? whyNoCompose();
  if (trouble !== null) return;
  copy = new ProjectCopy();
  const folder = join(copy.root, 'docker');
  mkdirSync(join(folder, 'secrets'));
  // As README says, where we may.
  for (const [name, text, uid] of [
    ['postgres-password', PASSWORD, 999],
    ['userlist.txt', `"app" "${PASSWORD}"\n`, 1000],
  ] as const) {
    const path = join(folder, 'secrets', name);
    writeFileSync(path, text);
    if (process.getuid?.() === 0) chownSync(path, uid, uid);
    chmodSync(path, process.getuid?.() === 0 ? 0o600 : 0o644);
  }
  const port = await freePort();
  environment = await new DockerComposeEnvironment(folder, 'compose.yaml')
    .withBuild()
    .withEnvironment({ PGWEIR_PORT: String(port), PGWEIR_IMAGE: 'pgweir-test' })
    .withWaitStrategy('pgweir-1', Wait.forHealthCheck())
    .withWaitStrategy('postgres-1', Wait.forHealthCheck())
    .withStartupTimeout(BUILD_DEADLINE_MS)
    .up();
  const nowhere = { socketDir: '', logPath: '', binDir: '', version: '' };
  address = { host: '127.0.0.1', port, user: 'app', password: PASSWORD, ...nowhere };
}, BUILD_DEADLINE_MS);

afterAll(async () => {
  await environment?.down();
  copy?.[Symbol.dispose]();
}, 60_000);

function containers(context: TestContext): StartedDockerComposeEnvironment {
  if (trouble !== null) skip(context, trouble);
  if (environment === null) throw new Error('it has not started');
  return environment;
}

it('the image runs as a user without rights, and pools', async (context) => {
  const pgweir = containers(context).getContainer('pgweir-1');
  const { output } = await pgweir.exec(['node', '-p', 'process.getuid()']);
  expect(output.trim()).toBe('1000');
  const [one, other] = [
    await connectTo(address, { database: 'app' }),
    await connectTo(address, { database: 'app' }),
  ];
  const pids = [];
  for (const client of [one, other, one]) {
    pids.push((await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid);
  }
  expect(new Set(pids).size).toBe(1);
  await Promise.all([one.end(), other.end()]);
});

it('its health check fails when the console cannot be asked', async (context) => {
  const pgweir = containers(context).getContainer('pgweir-1');
  const ping = () =>
    pgweir.exec(['node', '/opt/pgweir/dist/cli/bin.js', 'ping', '/etc/pgweir/pgbouncer.ini']);
  expect(await ping()).toMatchObject({ exitCode: 0, output: 'active\n' });
  // PID 1 is safe from a SIGSTOP of its own namespace; the configuration's socket is not from being moved away.
  const move = (from: string, to: string) =>
    pgweir.exec(['node', '-e', `fs.renameSync('/tmp/${from}', '/tmp/${to}')`]);
  expect(await move('.s.PGSQL.6432', 'away')).toMatchObject({ exitCode: 0 });
  expect(await ping()).toMatchObject({ exitCode: 1 });
  expect(await move('away', '.s.PGSQL.6432')).toMatchObject({ exitCode: 0 });
  expect(await ping()).toMatchObject({ exitCode: 0 });
});

it('ends on SIGTERM when its clients have left', async (context) => {
  const pgweir = containers(context).getContainer('pgweir-1');
  const client = await connectTo(address, { database: 'app' });
  await client.query('BEGIN');
  const stopped = pgweir.stop({ timeout: 60_000, remove: false });
  await expect
    .poll(
      () =>
        connectTo(address, { database: 'app' }).then(
          (late) => late.end(),
          () => 'refused',
        ),
      {
        timeout: 20_000,
      },
    )
    .toBe('refused');
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  await client.query('COMMIT');
  await client.end();
  await within(stopped, 'the end of the container', 20_000);
});
