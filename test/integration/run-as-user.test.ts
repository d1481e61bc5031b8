import { X509Certificate } from 'node:crypto';
import { chmodSync, chownSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { makeCertificate } from '../support/certificates.ts';
import { DaemonHome, runProgram } from '../support/program.ts';
import { connectEncrypted, TlsFolder } from '../support/tls.ts';
import { waitFor } from '../support/wait-for.ts';

const isRoot = process.geteuid?.() === 0;
const skipped = 'only root can have files that another user may not read';
if (!isRoot) process.stderr.write(`${import.meta.filename} is skipped: ${skipped}\n`);

/** A pooler's folder that is the user's as whom it will run. */
async function homeOfNobody(config: Parameters<typeof DaemonHome.make>[0] = {}): Promise<DaemonHome> {
  const home = await DaemonHome.make(config);
  home.giveTo('nobody');
  return home;
}

function authFileOf(home: DaemonHome): string {
  return /^auth_file = (.*)$/m.exec(readFileSync(home.iniPath, 'utf8'))?.[1] as string;
}

/** How often the log says it. */
function count(home: DaemonHome, text: string): number {
  return home.log.split(text).length - 1;
}

/** Has it reload, and waits until the log says once more how that went. */
async function reload(home: DaemonHome, says: string): Promise<void> {
  const before = count(home, says);
  home.signal('SIGHUP');
  await waitFor(() => count(home, says) > before, { what: `"${says}" in the log` }).catch((error: Error) => {
    throw new Error(`${error.message}:\n${home.log}`, { cause: error });
  });
}

async function shownCertificate(home: DaemonHome): Promise<X509Certificate | undefined> {
  const { peer, socket } = await connectEncrypted(home.port);
  const shown = socket.getPeerX509Certificate();
  await peer.close();
  return shown;
}

describe.skipIf(!isRoot)('files that root alone can read, where the pooler becomes another user', () => {
  const start = (home: DaemonHome) =>
    runProgram(['-d', '-u', 'nobody', home.iniPath], { env: { PGWEIR_ALLOW_ROOT: '' } });

  test('are read before that; TLS goes on by them after RELOAD, which says so', async () => {
    using files = new TlsFolder();
    const identity = files.identity('own');
    await using home = await homeOfNobody({
      settings: {
        client_tls_sslmode: 'allow',
        client_tls_cert_file: identity.certFile,
        client_tls_key_file: identity.keyFile,
      },
    });
    expect(await start(home)).toMatchObject({ code: 0 });
    // Nobody but root may even look into the folder.
    const warning = `client_tls_key_file ${identity.keyFile} cannot be read as this user: what was read before stays in force`;
    expect(count(home, ` WARNING ${warning}`)).toBe(1);
    const first = new X509Certificate(identity.certPem);
    expect((await shownCertificate(home))?.fingerprint).toBe(first.fingerprint);
    await reload(home, warning);
    expect((await shownCertificate(home))?.fingerprint).toBe(first.fingerprint);

    // One that fits the old key is taken: here with its issuer's behind it.
    chmodSync(files.folder, 0o755);
    expect((await shownCertificate(home))?.issuerCertificate).toBeUndefined();
    chmodSync(files.write('own.pem', `${identity.certPem}${files.authority.certPem}`), 0o644);
    await reload(home, warning);
    await waitFor(async () => (await shownCertificate(home))?.issuerCertificate !== undefined, {
      what: 'the whole chain',
    });

    // A new certificate does not go together with the old key: both stay, and all else is taken over.
    const renewed = files.keep('own', makeCertificate({ issuer: files.authority }));
    chmodSync(renewed.certFile, 0o644);
    await reload(home, warning);
    expect((await shownCertificate(home))?.fingerprint).toBe(first.fingerprint);

    const told = count(home, warning);
    chmodSync(renewed.keyFile, 0o644);
    await reload(home, `client_tls_key_file ${identity.keyFile} can be read or written by others`);
    expect(count(home, warning)).toBe(told);
    const second = new X509Certificate(renewed.certPem);
    expect((await shownCertificate(home))?.fingerprint).toBe(second.fingerprint);
  });

  test('fail RELOAD when it needs them: auth_file once it has changed, the configuration always', async () => {
    await using home = await homeOfNobody({ userlist: { somebody: 'secret' } });
    const authFile = authFileOf(home);
    chownSync(authFile, 0, 0);
    expect(await start(home)).toMatchObject({ code: 0 });
    expect(home.log).toContain(
      ` WARNING ${authFile} cannot be read as this user: RELOAD will fail once it has changed\n`,
    );
    expect(home.log).not.toContain(`${home.iniPath} cannot be read as this user`);
    const ini = readFileSync(home.iniPath, 'utf8');
    writeFileSync(home.iniPath, ini.replace('[pgbouncer]\n', '[pgbouncer]\nlisten_backlog = 99\n'));
    await reload(home, 'listen_backlog cannot be changed by RELOAD');
    writeFileSync(authFile, '"somebody" "another secret"\n');
    await reload(home, 'auth_file: expected a readable file (EACCES)');

    await using other = await homeOfNobody();
    chownSync(other.iniPath, 0, 0);
    expect(await start(other)).toMatchObject({ code: 0 });
    expect(other.log).toContain(` WARNING ${other.iniPath} cannot be read as this user: RELOAD will fail\n`);
    await reload(other, 'expected a readable file (EACCES)');
  });
});
