import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';
import { parseDockerfile } from '../support/dockerfile.ts';
import { projectRoot } from '../support/project-copy.ts';

/** What of a service the tests look at. */
interface Service {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly environment?: Readonly<Record<string, string>>;
  readonly secrets: readonly string[];
  readonly volumes: readonly string[];
  readonly ports?: readonly string[];
  readonly tmpfs?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly stop_grace_period?: string;
}

const folder = join(projectRoot, 'docker');
const compose: {
  readonly services: Readonly<Record<'postgres' | 'pgweir', Service>>;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
  readonly volumes: Readonly<Record<string, null>>;
} = parse(readFileSync(join(folder, 'compose.yaml'), 'utf8'));
const { postgres, pgweir } = compose.services;

/** What README has people type in `docker/` before they start it, as a shell reads it. */
function secretsCommands(): string {
  const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8');
  const [, block] = /```sh\ncd docker\n([\s\S]*?)```/.exec(readme) ?? [];
  if (block === undefined) throw new Error('README does not say how to start docker/compose.yaml');
  const lines = block.split('\n');
  return lines
    .slice(
      0,
      lines.findIndex((line) => line.startsWith('sudo ')),
    )
    .join('\n');
}

it('PostgreSQL is asked by TCP whether it is up, and pgweir waits for that', () => {
  expect(postgres.image).toMatch(/^postgres:\d+$/);
  expect(postgres.healthcheck?.test.slice(0, 2)).toEqual(['CMD', 'pg_isready']);
  expect(postgres.healthcheck?.test).toContain('--host=127.0.0.1');
  expect(pgweir.depends_on).toEqual({ postgres: { condition: 'service_healthy' } });
  // The image has a check of its own.
  expect(pgweir.healthcheck).toBeUndefined();
});

it('secrets are files, and no environment holds one', () => {
  for (const { environment = {}, secrets } of [postgres, pgweir]) {
    for (const name of secrets) expect(compose.secrets).toHaveProperty(name);
    for (const [name, value] of Object.entries(environment)) {
      if (/PASSWORD|SECRET|KEY/.test(name))
        expect([name, value]).toEqual([`${name}`, expect.stringMatching(/^\/run\/secrets\//)]);
    }
  }
  expect(postgres.environment?.['POSTGRES_PASSWORD_FILE']).toBe(`/run/secrets/${postgres.secrets[0]}`);
  const ignored = readFileSync(join(projectRoot, '.gitignore'), 'utf8').split('\n');
  expect(ignored).toContain('/docker/secrets/');
});

it('what is mounted and built is there', () => {
  const { context = '', dockerfile = '' } = pgweir.build ?? {};
  expect(resolve(folder, context)).toBe(projectRoot);
  expect(existsSync(join(folder, context, dockerfile))).toBe(true);
  for (const volume of [...postgres.volumes, ...pgweir.volumes]) {
    const [source = '', target = ''] = volume.split(':');
    if (source.startsWith('.')) expect(statSync(join(folder, source)).isDirectory()).toBe(true);
    else expect(compose.volumes).toHaveProperty(source);
    expect(target).toMatch(/^\//);
  }
  expect(pgweir.volumes).toContain('./pgweir:/etc/pgweir:ro');
});

it('pgweir can write nothing but /tmp, gains no rights, and gives clients time to leave', () => {
  expect(pgweir).toMatchObject({
    read_only: true,
    tmpfs: ['/tmp'],
    cap_drop: ['ALL'],
    security_opt: ['no-new-privileges:true'],
  });
  // Docker's own 10 seconds are few.
  expect(pgweir.stop_grace_period).toBe('1m');
});

it("its configuration, with the secrets that README's commands make, is sound and fits the container", () => {
  const home = mkdtempSync(join(tmpdir(), 'pgweir-compose-'));
  onTestFinished(() => rmSync(home, { recursive: true, force: true }));
  const { status, stderr } = spawnSync('sh', ['-euc', secretsCommands()], { cwd: home, encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const file = (secret: string) => join(home, compose.secrets[secret]?.file ?? '');
  for (const secret of Object.keys(compose.secrets)) expect(statSync(file(secret)).mode & 0o777).toBe(0o600);
  expect(statSync(dirname(file('userlist'))).mode & 0o777).toBe(0o700);

  // In the container the secrets have their names below /run/secrets.
  const config = loadConfig(join(folder, 'pgweir/pgbouncer.ini'), null, (path) => {
    const text = readFileSync(path, 'utf8');
    return Buffer.from(
      pgweir.secrets.reduce((so, name) => so.replace(`/run/secrets/${name}\n`, `${file(name)}\n`), text),
    );
  });
  expect(config.warnings).toEqual([]);
  expect([...config.userlist]).toEqual([
    [postgres.environment?.['POSTGRES_USER'], readFileSync(file('postgres-password'), 'utf8').trim()],
  ]);
  const { settings, databases } = config;
  expect(settings.auth_file).toBe(file('userlist'));
  expect(settings.unix_socket_dir).toBe('/tmp');
  expect(settings.listen_addr).toEqual(['*']);
  const final = parseDockerfile(readFileSync(join(folder, 'Dockerfile'), 'utf8')).at(-1);
  const exposed = final?.instructions.find(({ name }) => name === 'EXPOSE')?.text;
  expect(String(settings.listen_port)).toBe(exposed);
  expect(pgweir.ports).toEqual([expect.stringMatching(new RegExp(`^127\\.0\\.0\\.1:.*:${exposed}$`))]);
  const name = postgres.environment?.['POSTGRES_DB'] ?? '';
  expect(databases.get(name)).toMatchObject({ hosts: ['postgres'], port: 5432 });
});
