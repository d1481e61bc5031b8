import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../src/cli/start/postgres.ts';
import { loadConfig } from '../../src/config/load.ts';
import { makeCertificate } from '../support/certificates.ts';
import { waitFor } from '../support/wait-for.ts';
import { refusals } from './cluster.ts';
import { iniOf, pgbouncer, pgweir, variant } from './ini-poolers.ts';
import { odysseyConfiguration } from './odyssey.ts';
import { pgpool, pgpoolConfiguration } from './pgpool.ts';
import type { PoolerSetup } from './pooler.ts';
import { relay } from './relay.ts';
import { asksPassword, type Door } from './workloads.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'pgweir-bench-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const secret = 'SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy';

function setup(door: Door): PoolerSetup {
  return {
    server: { host: '127.0.0.1', port: 5555, user: 'x', password: '', database: 'bench', tls: false },
    listenPort: 6666,
    door,
    role: 'some_role',
    secret,
    password: 'word',
    poolSize: 20,
    maxClients: 900,
    certFile: path.join(folder, 'server.crt'),
    keyFile: path.join(folder, 'server.key'),
    folder,
  };
}

/** `key value` and `key = value` lines of a block, by key. */
function lines(text: string): Map<string, string> {
  return new Map(
    text
      .split('\n')
      .map((line) => /^\s*(\w+)\s*=?\s*(.*)$/.exec(line))
      .filter((match) => match !== null)
      .map(([, key = '', value = '']) => [key, value]),
  );
}

/** A connection; null: nobody listens there yet. */
async function dial(port: number): Promise<Socket | null> {
  const socket = connect({ port, host: '127.0.0.1' });
  try {
    await once(socket, 'connect');
    return socket;
  } catch {
    return null;
  }
}

describe('configurations of the poolers', () => {
  test.each([
    ['plain', 'trust', 'disable'],
    ['scram', 'scram-sha-256', 'disable'],
    ['scram1', 'scram-sha-256', 'disable'],
    ['tls', 'trust', 'require'],
  ] as const)('the ini for the door %s is what both PgBouncer and pgweir get', (door, authType, mode) => {
    const { files, args } = pgweir.configure(setup(door));
    expect(pgbouncer.configure(setup(door))).toEqual({ files, args });
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);
    const { settings, warnings, databases } = loadConfig(path.join(folder, 'pgbouncer.ini'), null);
    expect(warnings).toEqual([]);
    expect(settings).toMatchObject({
      listen_port: 6666,
      auth_type: authType,
      client_tls_sslmode: mode,
      server_tls_sslmode: 'disable',
      pool_mode: 'transaction',
      default_pool_size: 20,
      max_client_conn: 950,
    });
    expect(databases.get('bench')).toMatchObject({ dbname: 'bench' });
    expect(files['userlist.txt']).toBe(`"some_role" "${asksPassword(door) ? secret : ''}"\n`);
  });

  test("settings of the variant alone stand where PgBouncer doesn't see them, and in what is reported", () => {
    const given = variant(['log_format = json']);
    expect(given.configure(setup('plain')).files['pgbouncer.ini']).toBe(
      `${iniOf(setup('plain'))};pgweir log_format = json\n`,
    );
    expect(given.facts).toContain('log_format = json');
  });

  test('Odyssey gets one worker, the same pool, and the login of the door', () => {
    const plain = lines(odysseyConfiguration(setup('plain')));
    expect(plain.get('authentication')).toBe('"none"');
    expect(plain.get('pool')).toBe('"transaction"');
    expect(plain.get('pool_size')).toBe('20');
    expect(plain.get('client_max')).toBe('950');
    expect(plain.get('workers')).toBe('1');
    // It refuses the one with the other.
    expect(plain.get('pool_reserve_prepared_statement')).toBe('yes');
    expect(plain.get('pool_discard')).toBe('no');
    const scram = lines(odysseyConfiguration(setup('scram')));
    expect(scram.get('authentication')).toBe('"scram-sha-256"');
    expect(scram.get('password')).toBe(`"${secret}"`);
    const tls = odysseyConfiguration(setup('tls'));
    expect(tls).toMatch(/listen \{[^}]*tls "require"\n {2}tls_cert_file "[^"]*server\.crt"[^}]*\}/);
    // The server's end of it stays plain.
    expect(tls).toMatch(/storage "postgres" \{[^}]*tls "disable"[^}]*\}/);
    for (const door of ['plain', 'scram', 'scram1', 'tls'] as const) {
      const text = odysseyConfiguration(setup(door));
      expect(text.split('{').length).toBe(text.split('}').length);
    }
  });

  test('Pgpool-II gets a process for each client, and asks for a password at the door for SCRAM only', () => {
    const plain = lines(pgpoolConfiguration(setup('plain')));
    expect(plain.get('num_init_children')).toBe('910');
    expect(plain.get('enable_pool_hba')).toBe('off');
    expect(plain.get('ssl')).toBe('off');
    expect(plain.get('pcp_port')).not.toBe(plain.get('port'));
    expect(lines(pgpoolConfiguration(setup('scram'))).get('enable_pool_hba')).toBe('on');
    expect(lines(pgpoolConfiguration(setup('tls'))).get('ssl')).toBe('on');
    expect(pgpool.configure(setup('scram')).files['pool_passwd']).toBe('some_role:TEXTword\n');
  });

  test.each([
    ['plain', false],
    ['tls', true],
  ] as const)('the bare relay at the door %s passes on what comes, as it is', async (door, isTls) => {
    const server = createServer((peer) => peer.on('data', (bytes) => peer.write(`<${bytes.toString()}>`)));
    onTestFinished(() => void server.close());
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    const listenPort = await freePort();
    const { certPem, keyPem } = makeCertificate({ commonName: 'localhost' });
    writeFileSync(path.join(folder, 'server.crt'), certPem);
    writeFileSync(path.join(folder, 'server.key'), keyPem);
    const target = { ...setup(door).server, port: (server.address() as AddressInfo).port };
    const { files, args } = relay.configure({ ...setup(door), server: target, listenPort });
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);
    const { program, args: first } = relay.find();
    const child = spawn(program.path, [...first, ...args], { stdio: 'ignore' });
    onTestFinished(() => void child.kill());
    const plain = await waitFor(() => dial(listenPort));
    onTestFinished(() => void plain.destroy());
    let client: Socket = plain;
    if (isTls) {
      plain.write('SSLRequest');
      expect(String((await once(plain, 'data'))[0])).toBe('S');
      client = connectTls({ socket: plain, rejectUnauthorized: false });
      onTestFinished(() => void client.destroy());
    }
    client.write('ping');
    expect(String((await once(client, 'data'))[0])).toBe('<ping>');
  });

  test('refusals of a role are counted, and not those of others', () => {
    const log =
      'x FATAL:  too many connections for role "pgweir_plain"\n' +
      'x FATAL:  too many connections for role "pgweir_plain_2"\n' +
      'x FATAL:  too many connections for role "pgweir_plain"\n';
    expect(refusals(log, 'pgweir_plain')).toBe(2);
    expect(refusals(log, 'pgbouncer_plain')).toBe(0);
  });
});
