import { createServer, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import pg from 'pg';
import { afterAll, expect, test } from 'vitest';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { TlsFolder } from '../support/tls.ts';

const REFUSED = 'LDAP authentication failed';

/** A message with this number, from the hex of its operation. */
function message(id: number, operation: string): Buffer {
  const body = Buffer.concat([Buffer.from([0x02, 1, id]), Buffer.from(operation, 'hex')]);
  return Buffer.concat([Buffer.from([0x30, body.length]), body]);
}

/** BindResponse and ExtendedResponse: the result's code in hex, no DN, no text. */
const bindResponse = (code: string): string => `61070a01${code}04000400`;
const granted = message(1, '78070a010004000400');
/** Where our messages have their number. */
const idOf = (request: Buffer): number => request[4] as number;

/** An LDAP server that does to each connection what `script` says, and a pooler that asks it. */
async function withServer(
  options: string,
  script: (socket: Socket) => void,
  check: (pooler: LocalPooler) => Promise<void>,
): Promise<void> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    script(socket);
  }).listen(0, '127.0.0.1');
  await new Promise((listening) => server.once('listening', listening));
  const { port } = server.address() as { port: number };
  const auth_ldap_options = `ldapserver=127.0.0.1 ldapport=${port} ${options}`;
  try {
    await using pooler = await startPooler({
      settings: { auth_type: 'ldap', auth_ldap_options },
      userlist: {},
    });
    await check(pooler);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

async function login(pooler: LocalPooler): Promise<string> {
  try {
    const client = await pooler.client({ user: 'somebody', password: 'HUSH' });
    await client.end();
    return 'let in';
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    return error.message;
  }
}

/** To each request the answer that it gets. */
function answer(socket: Socket, response: (request: Buffer) => Buffer): void {
  socket.on('data', (request: Buffer) => void socket.write(response(request)));
}

const folder = new TlsFolder();
const own = folder.identity('ldap', { altNames: ['127.0.0.1'] });
const secureContext = createSecureContext({ cert: own.certPem, key: own.keyPem });
const before = process.env['LDAPTLS_CACERT'];
process.env['LDAPTLS_CACERT'] = folder.caFile;
afterAll(() => {
  if (before === undefined) delete process.env['LDAPTLS_CACERT'];
  else process.env['LDAPTLS_CACERT'] = before;
  folder[Symbol.dispose]();
});

const simple = 'ldapprefix="uid="';

test('a server that hangs up behind its first answer is not connected to anew, without TLS', async () => {
  let connections = 0;
  const hangUp = (socket: Socket): void => {
    connections++;
    socket.once('data', () => socket.end(granted));
  };
  await withServer(`ldaptls=1 ${simple}`, hangUp, async (pooler) => {
    expect(await login(pooler)).toBe(REFUSED);
    expect(connections).toBe(1);
  });
});

test('what somebody puts behind the answer to StartTLS does not become part of an encrypted one', async () => {
  // The head of a success, with a text as long as the honest refusal that is still to come.
  const refusal = message(0, bindResponse('31'));
  const stuffed = (id: number): Buffer => {
    const head = Buffer.from([0x02, 1, id, 0x61, 7 + refusal.length, 0x0a, 1, 0, 4, 0, 4, refusal.length]);
    return Buffer.concat([Buffer.from([0x30, head.length + refusal.length]), head]);
  };
  let asked = 0;
  const between = (guess: number) => (socket: Socket) => {
    socket.once('data', (request: Buffer) => {
      socket.write(Buffer.concat([message(idOf(request), '78070a010004000400'), stuffed(guess)]));
      const encrypted = new TLSSocket(socket, { isServer: true, secureContext });
      encrypted.on('error', () => {});
      answer(encrypted, (bind) => {
        asked++;
        return message(idOf(bind), bindResponse('31'));
      });
    });
  };
  for (const guess of [2, 3, 4]) {
    await withServer(`ldaptls=1 ${simple}`, between(guess), async (pooler) => {
      expect(await login(pooler)).toBe(REFUSED);
      expect(pooler.lines.join('\n')).toContain('sent bytes ahead of TLS');
    });
  }
  expect(asked).toBe(0);
});

test('a server that falls silent in the handshake keeps no later login waiting', async () => {
  let isSilent = true;
  const stall = (socket: Socket): void => {
    socket.once('data', (request: Buffer) => {
      socket.write(message(idOf(request), '78070a010004000400'));
      if (isSilent) return;
      const encrypted = new TLSSocket(socket, { isServer: true, secureContext });
      encrypted.on('error', () => {});
      answer(encrypted, (bind) => message(idOf(bind), bindResponse('00')));
    });
  };
  await withServer(`ldaptls=1 ${simple}`, stall, async (pooler) => {
    // As many as are checked at a time.
    const all = await Promise.all(Array.from({ length: 8 }, () => login(pooler)));
    expect(new Set(all)).toEqual(new Set([REFUSED]));
    expect(pooler.lines.join('\n')).toContain('no answer in time');
    isSilent = false;
    // It is let in, and PostgreSQL is what does not know it.
    const end = await login(pooler);
    expect(end, pooler.lines.join('\n')).not.toBe(REFUSED);
  });
});

const searching = 'ldapbasedn="dc=x"';

test.each([
  ['with very many small answers', simple, () => many(message(7, '7300'))],
  [
    'with very many small answers to a search',
    searching,
    (id: number) => many(message(id, '64040400' + '3000')),
  ],
  [
    'with more than anybody needs',
    searching,
    (id: number) => Buffer.concat(Array(40).fill(many(message(id, '7300')))),
  ],
  ['with a reference that has no end', searching, (id: number) => message(id, '7302ff80')],
  [
    'with an entry whose list has no end',
    searching,
    (id: number) => message(id, '640a0401613005300304013031'),
  ],
  ['with a length that is none', simple, () => Buffer.from('3080020103', 'hex')],
  ['with one that is never sent', simple, () => Buffer.from('3084ffffffff0201', 'hex')],
  ['with what is no result', simple, (id: number) => message(id, '61020500')],
  ['with nothing at all in a message', simple, () => Buffer.from('3000', 'hex')],
  ['with the answer to something else', simple, () => message(99, bindResponse('00'))],
  ['with another kind of answer', simple, (id: number) => message(id, '65070a010004000400')],
])('a server that answers %s lets nobody in', async (_how, options, response) => {
  const script = (socket: Socket): void => answer(socket, (request) => response(idOf(request)));
  await withServer(options, script, async (pooler) => {
    expect(await login(pooler)).toBe(REFUSED);
    expect(pooler.lines.join('\n')).not.toContain('HUSH');
  });
});

test.each([
  ['00', 'let in, as far as LDAP goes'],
  // A server's own limit may be below ours: who else is of that name is not told.
  ['04', REFUSED],
])('of one entry, and then result %s, comes: %s', async (code, expected) => {
  const found = (id: number): Buffer =>
    Buffer.concat([message(id, '64070403613d623000'), message(id, `65070a01${code}04000400`)]);
  const script = (socket: Socket): void =>
    answer(socket, (request) => {
      const id = idOf(request);
      return request[5] === 0x63 ? found(id) : message(id, bindResponse('00'));
    });
  await withServer(searching, script, async (pooler) => {
    const end = await login(pooler);
    expect(end === REFUSED ? end : 'let in, as far as LDAP goes').toBe(expected);
  });
});

function many(one: Buffer): Buffer {
  return Buffer.concat(Array<Buffer>(Math.floor(65536 / one.length)).fill(one));
}
