import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers';
import type { PostgresAddress } from '../../src/cli/start/postgres.ts';
import { fastSettings, testHba, testRoles } from './postgres-settings.ts';
import { withClient } from './postgres-client.ts';

/** Where the folder that it shares with us is in the container. */
const SHARED = '/pgweir';
const PORT = 5432;
const START_DEADLINE_MS = 120_000;

/**
 * A PostgreSQL of the official image, with the settings and roles that tests rely on. It is reached by TCP alone, and
 * cannot be restarted or copied. Its log is a file of ours, written as the server writes it, so the engine has to be on
 * this machine.
 */
export class PostgresContainer implements AsyncDisposable {
  readonly address: PostgresAddress;
  readonly #container: StartedTestContainer;
  readonly #folder: string;

  private constructor(container: StartedTestContainer, folder: string, address: PostgresAddress) {
    this.#container = container;
    this.#folder = folder;
    this.address = address;
  }

  /** Starts one; whoever does so disposes of it. */
  static async start(image: string): Promise<PostgresContainer> {
    const folder = mkdtempSync(join(tmpdir(), 'pgweir-pgc-'));
    const hbaPath = join(folder, 'pg_hba.conf');
    writeFileSync(hbaPath, `${hba().join('\n')}\n`);
    // The server runs as a user of its own.
    chmodSync(folder, 0o777);
    chmodSync(hbaPath, 0o644);
    const password = randomBytes(12).toString('base64url');
    const settings = Object.entries({ ...fastSettings, log_line_prefix: '%m [%p] %q%u@%d ' });
    const container = await new GenericContainer(image)
      .withEnvironment({ POSTGRES_PASSWORD: password })
      .withBindMounts([{ source: folder, target: SHARED }])
      .withEntrypoint(['sh', '-c', `exec docker-entrypoint.sh "$@" 2>>${SHARED}/postgresql.log`, 'sh'])
      .withCommand([
        'postgres',
        ...['-c', `hba_file=${SHARED}/pg_hba.conf`],
        ...settings.flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ])
      .withExposedPorts(PORT)
      // By TCP: while it makes its data, it answers on the unix socket alone.
      .withHealthCheck({
        test: ['CMD', 'pg_isready', '--quiet', '--host=127.0.0.1', '--username=postgres'],
        interval: 500,
        timeout: 5000,
        retries: 120,
      })
      .withWaitStrategy(Wait.forHealthCheck())
      .withStartupTimeout(START_DEADLINE_MS)
      .start();
    const host = container.getHost();
    const address = {
      // Of both families the port is published on the former alone, in places.
      host: host === 'localhost' ? '127.0.0.1' : host,
      port: container.getMappedPort(PORT),
      socketDir: '',
      user: 'postgres',
      password,
      logPath: join(folder, 'postgresql.log'),
      version: image,
      binDir: '',
    };
    const postgres = new PostgresContainer(container, folder, address);
    try {
      await withClient(address, async (client) => {
        for (const statement of testRoles) await client.query(statement);
      });
      return postgres;
    } catch (error) {
      await postgres[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Ends it and removes all that it has left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#container.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** As elsewhere, but whoever comes by a published port has an address of the engine's. */
function hba(): string[] {
  return [...testHba, 'local all all scram-sha-256', 'host all all 127.0.0.1/32 scram-sha-256'].map((line) =>
    line.replace('127.0.0.1/32', 'all'),
  );
}
