import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openNative } from '../../src/net/native.ts';
import {
  checkUnixSocketFree,
  keepSocketFile,
  resolveGroup,
  unixSocketPath,
} from '../../src/net/unix-socket.ts';
import { waitFor } from '../support/wait-for.ts';
import { ListenerKit } from './listener-kit.ts';
import { withoutNative } from '../support/without-native.ts';

let kit: ListenerKit;
let dir: string;

beforeEach(() => {
  kit = new ListenerKit();
  dir = mkdtempSync(join(tmpdir(), 'pgweir-unix-'));
});

afterEach(() => {
  kit.close();
  rmSync(dir, { recursive: true, force: true });
});

/** Leaves a socket file that nobody listens on, as a killed process does. */
async function leaveStaleSocket(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  renameSync(path, `${path}.aside`);
  await new Promise((resolve) => server.close(resolve));
  renameSync(`${path}.aside`, path);
}

describe('the unix socket', () => {
  it('stands at the path that libpq looks for and takes connections', async () => {
    const { addresses } = await kit.open({ unixSocketDir: dir, listenPort: 6432 });
    const path = `${dir}/.s.PGSQL.6432`;
    expect(addresses).toEqual([{ kind: 'unix', address: path, port: 6432 }]);
    expect(kit.log.lines).toEqual([`LOG listening on unix:${path}`]);
    for (const info of addresses) expect(await kit.dial(info)).not.toBeTypeOf('string');
    await waitFor(() => kit.accepted.length === 1);
  });

  it('is named after the TCP port that the system chose', async () => {
    const { addresses } = await kit.open({ listenAddr: ['127.0.0.1'], unixSocketDir: dir });
    expect(addresses[1]).toEqual({
      kind: 'unix',
      address: `${dir}/.s.PGSQL.${addresses[0]?.port}`,
      port: addresses[0]?.port,
    });
  });

  it.each([0o700, 0o770, 0o777])('gets mode %o and leaves the umask as it was', async (mode) => {
    const umask = process.umask();
    await kit.open({ unixSocketDir: dir, listenPort: 6432, unixSocketMode: mode });
    expect(statSync(`${dir}/.s.PGSQL.6432`).mode & 0o7777).toBe(mode);
    expect(process.umask()).toBe(umask);
  });

  it('gets the group that is asked for', async () => {
    // Root may give any group away, others only one that they belong to.
    const own = process.getegid?.() ?? 0;
    const gid =
      process.geteuid?.() === 0 ? own + 1 : (process.getgroups?.().find((group) => group !== own) ?? own);
    await kit.open({ unixSocketDir: dir, listenPort: 6432, unixSocketGroup: String(gid) });
    expect(statSync(`${dir}/.s.PGSQL.6432`).gid).toBe(gid);
  });

  it('is refused with a group that does not exist', async () => {
    await expect(
      kit.open({ unixSocketDir: dir, listenPort: 6432, unixSocketGroup: 'no-such-group' }),
    ).rejects.toThrow('unknown group in unix_socket_group: no-such-group');
    expect(existsSync(`${dir}/.s.PGSQL.6432`)).toBe(false);
  });

  it('survives the close of TCP and its file goes with the close of all', async () => {
    const listeners = await kit.open({ listenAddr: ['127.0.0.1'], unixSocketDir: dir });
    const [tcp, unix] = listeners.addresses;
    if (tcp === undefined || unix === undefined) throw new Error('two listeners expected');
    listeners.retireTcp(() => {});
    expect(await kit.dial(tcp)).toBe('ECONNREFUSED');
    expect(await kit.dial(unix)).not.toBeTypeOf('string');
    listeners.close();
    expect(existsSync(unix.address)).toBe(false);
  });

  it("does not take another process's file along when it closes", async () => {
    const listeners = await kit.open({ unixSocketDir: dir, listenPort: 6432 });
    const path = `${dir}/.s.PGSQL.6432`;
    // Both files exist for a moment, so that the new one can't get the old one's inode.
    writeFileSync(`${path}.new`, 'of another process');
    renameSync(`${path}.new`, path);
    listeners.close();
    expect(existsSync(path)).toBe(true);
  });

  it('replaces what a dead process left', async () => {
    const path = `${dir}/.s.PGSQL.6432`;
    await leaveStaleSocket(path);
    const { addresses } = await kit.open({ unixSocketDir: dir, listenPort: 6432 });
    for (const info of addresses) expect(await kit.dial(info)).not.toBeTypeOf('string');
  });

  it('that a dead process left goes to one of two that start at once, and stays its own', async () => {
    const path = `${dir}/.s.PGSQL.6432`;
    await leaveStaleSocket(path);
    const both = [1, 2].map(() => kit.open({ unixSocketDir: dir, listenPort: 6432 }));
    const ends = await Promise.allSettled(both);
    expect(ends.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const reason: unknown = ends.find((end) => end.status === 'rejected')?.reason;
    expect(reason).toMatchObject({
      name: 'ListenError',
      message: 'unix socket is in use, cannot continue',
    });
    expect(await kit.dial({ kind: 'unix', address: path, port: 6432 })).not.toBeTypeOf('string');
    await waitFor(() => kit.accepted.length === 1);
  });

  it('in use by a living process stops the start before any TCP port is bound', async () => {
    await kit.open({ unixSocketDir: dir, listenPort: 6432 });
    const before = kit.servers.length;
    const second = kit.open({ listenAddr: ['127.0.0.1'], unixSocketDir: dir, listenPort: 6432 });
    await expect(second).rejects.toMatchObject({
      name: 'ListenError',
      message: 'unix socket is in use, cannot continue',
    });
    expect(kit.servers).toHaveLength(before);
    expect(existsSync(`${dir}/.s.PGSQL.6432`)).toBe(true);
  });

  it("next to a PostgreSQL server's lock file stops the start", async () => {
    const path = `${dir}/.s.PGSQL.6432`;
    writeFileSync(`${path}.lock`, '1\n');
    await expect(kit.open({ unixSocketDir: dir, listenPort: 6432 })).rejects.toThrow(`${path}.lock exists`);
  });

  it('never replaces a file of another kind', async () => {
    const path = `${dir}/.s.PGSQL.6432`;
    writeFileSync(path, 'precious');
    await expect(kit.open({ unixSocketDir: dir, listenPort: 6432 })).rejects.toThrow('not a unix socket');
    expect(statSync(path).size).toBe(8);
  });

  it('in a folder that does not exist stops the start and frees the TCP ports', async () => {
    const listening = kit.open({ listenAddr: ['127.0.0.1'], unixSocketDir: `${dir}/none` });
    await expect(listening).rejects.toThrow(
      /^cannot listen on unix:.*none\/\.s\.PGSQL\.\d+: no such folder$/,
    );
    expect(kit.servers.every((server) => !server.listening)).toBe(true);
  });

  it('in what is no folder stops the start, and one that has become such at the end is no trouble', async () => {
    const wanted = join(dir, 'sockets');
    writeFileSync(wanted, '');
    await expect(kit.open({ unixSocketDir: wanted, listenPort: 6432 })).rejects.toMatchObject({
      name: 'ListenError',
      message: expect.stringMatching(/^cannot listen on unix:.*sockets\/\.s\.PGSQL\.6432: ENOTDIR/),
    });
    rmSync(wanted);
    mkdirSync(wanted);
    const listeners = await kit.open({ unixSocketDir: wanted, listenPort: 6432 });
    rmSync(wanted, { recursive: true });
    writeFileSync(wanted, '');
    expect(listeners.isUnixReplaced()).toBe(false);
    listeners.close();
  });

  it('with a path too long for the kernel stops the start instead of being cut', async () => {
    const long = join(dir, 'x'.repeat(100));
    await expect(kit.open({ unixSocketDir: long, listenPort: 6432 })).rejects.toThrow(
      'longer than 107 bytes',
    );
  });

  it('in the abstract namespace leaves no file and is known as taken', async () => {
    const unixSocketDir = `@${dir}`;
    const { addresses } = await kit.open({ unixSocketDir, listenPort: 6432 });
    expect(addresses).toEqual([{ kind: 'unix', address: `@${dir}/.s.PGSQL.6432`, port: 6432 }]);
    for (const info of addresses) expect(await kit.dial(info)).not.toBeTypeOf('string');
    expect(existsSync(`${dir}/.s.PGSQL.6432`)).toBe(false);
    await expect(kit.open({ unixSocketDir, listenPort: 6432 })).rejects.toThrow('unix socket is in use');
    await expect(checkUnixSocketFree(unixSocketPath(unixSocketDir, 6433))).resolves.toBe(null);
  });
});

describe('unix_socket_group', () => {
  it('is a number, a name, or empty for no change', () => {
    expect(resolveGroup('42', withoutNative)).toBe(42);
    expect(resolveGroup('', withoutNative)).toBe(null);
  });

  it('finds local groups withoutNative the native library too', () => {
    expect(resolveGroup('daemon', withoutNative)).toBe(resolveGroup('daemon', openNative()));
  });
});

describe('keeping a socket’s file beyond a close that removes it', () => {
  it('leaves the same file there, and no other', () => {
    const path = join(dir, 's');
    writeFileSync(path, 'a');
    const { ino } = statSync(path);
    expect(keepSocketFile(path, () => rmSync(path))).toBe(true);
    expect([statSync(path).ino, readdirSync(dir)]).toEqual([ino, ['s']]);
  });

  it('never takes the place of another one that has come meanwhile', () => {
    const path = join(dir, 's');
    writeFileSync(path, 'a');
    const close = () => {
      rmSync(path);
      writeFileSync(path, 'of another');
    };
    expect(() => keepSocketFile(path, close)).toThrow('EEXIST');
    expect([readFileSync(path, 'utf8'), readdirSync(dir)]).toEqual(['of another', ['s']]);
  });

  it('does nothing where there can be no second name', () => {
    let isClosed = false;
    const close = () => {
      isClosed = true;
    };
    expect([keepSocketFile(join(dir, 'missing'), close), isClosed]).toEqual([false, false]);
  });
});
