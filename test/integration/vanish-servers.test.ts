import { describe, expect, test } from 'vitest';
import { poolShows } from '../support/backends.ts';
import { backend, frontend, int16, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { connectAndLogin, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor, within } from '../support/wait-for.ts';

/** Servers that do as they please after the client, in the middle of a query, is gone. */
const login = { user: 'vanish', database: 'scripted' };
const DONE = [backend.commandComplete('SELECT 0'), backend.readyForQuery()];
const CANCELLED = [
  backend.errorResponse({ S: 'ERROR', C: '57014', M: 'canceling statement due to user request' }),
  backend.readyForQuery(),
];
const NOT_READY = 'closing because: client disconnect while server was not ready';

/** Takes the connections that come after the first login: answers logins, and closes those of cancels when it may. */
class Front {
  readonly logins: ScriptedPeer[] = [];
  /** Connections with a CancelRequest that have come. */
  cancels = 0;
  readonly #held: ScriptedPeer[] = [];
  #holds = false;

  constructor(server: ScriptedServer) {
    const loop = async () => {
      for (;;) await this.#take(await server.accept());
    };
    // Ends with the server; a test that misses a connection says so itself.
    loop().catch(() => {});
  }

  /** From now on PostgreSQL has not carried out the cancels that come. */
  holdCancels(): void {
    this.#holds = true;
  }

  closeCancels(): void {
    this.#holds = false;
    for (const peer of this.#held) peer.halfClose();
  }

  async isCancelled(times = 1): Promise<void> {
    await waitFor(() => this.cancels >= times, { what: `${times} cancels` });
  }

  async #take(peer: ScriptedPeer): Promise<void> {
    const { body } = await peer.packet();
    if (body.readInt32BE(0) >>> 16 === 3) {
      await peer.send(backend.authenticationOk(), backend.readyForQuery());
      this.logins.push(peer);
      return;
    }
    expect(body).toEqual(frontend.cancelRequest(77, Buffer.from('KEY!')).subarray(4));
    this.cancels++;
    if (this.#holds) this.#held.push(peer);
    else peer.halfClose();
  }
}

interface Scene extends AsyncDisposable {
  /** When the client went: what follows on that is measured from here, however late the test gets to look. */
  readonly goneMs: number;
  readonly server: ScriptedServer;
  readonly front: Front;
  readonly pooler: LocalPooler;
  /** The server's end of the connection whose client is gone. */
  readonly left: ScriptedPeer;
  /** A client that waits for a server. */
  readonly next: ScriptedPeer;
}

interface Staging {
  /** What the client sends before it goes. */
  readonly requests?: readonly Uint8Array[];
  readonly own?: Record<string, number>;
  /** What an earlier request of the client was answered with. */
  readonly firstAnswer?: readonly Uint8Array[];
  readonly holdsCancels?: boolean;
}

/** A pool of one server. A client has sent requests there and is gone, another one has asked for `SELECT next`. */
async function stage(staging: Staging = {}): Promise<Scene> {
  const { requests = [frontend.query('SELECT gone')], firstAnswer = [] } = staging;
  const server = await ScriptedServer.listen();
  const pooler = await startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1, server_login_retry: 0 },
    databases: { scripted: `host=127.0.0.1 port=${server.port}` },
    own: { server_close_timeout: 60, ...staging.own },
    userlist: { vanish: '' },
  });
  const loggingIn = connectAndLogin(pooler.port, login);
  const left = await server.acceptLogin({ pid: 77, secret: Buffer.from('KEY!') });
  const front = new Front(server);
  if (staging.holdsCancels === true) front.holdCancels();
  const gone = await loggingIn;
  const next = await connectAndLogin(pooler.port, login);
  if (firstAnswer.length > 0) {
    await gone.send(frontend.query('SELECT first'));
    await left.message('Q');
    await left.send(...firstAnswer);
    await gone.messagesTo('Z');
  }
  await gone.send(...requests);
  await left.bytes(requests.reduce((sum, { length }) => sum + length, 0));
  const goneMs = performance.now();
  gone.reset();
  await front.isCancelled();
  await next.send(frontend.query('SELECT next'));
  return {
    goneMs,
    server,
    front,
    pooler,
    left,
    next,
    async [Symbol.asyncDispose]() {
      await next.close();
      await pooler[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** The next client is served, by `by` (or a new connection), and gets exactly what it is sent. */
async function servesNext({ front, next }: Scene, by?: ScriptedPeer): Promise<void> {
  const peer = by ?? (await waitFor(() => front.logins[0], { what: 'another login' }));
  expect((await peer.message('Q')).body.toString()).toBe('SELECT next\0');
  await peer.send(backend.rowDescription('a'), backend.dataRow('next'), ...DONE);
  const answer = await next.messagesTo('Z');
  expect(answer.map(({ type }) => type).join('')).toBe('TDCZ');
  expect(answer[1]?.body.toString()).toContain('next');
  expect(next.unread).toBe(0);
}

describe('a server whose client is gone', () => {
  test('serves the next client when it has answered and has closed the connection of the cancel', async () => {
    await using scene = await stage({ holdsCancels: true });
    const { left, pooler } = scene;
    await left.send(backend.rowDescription('a'), backend.dataRow('not for you'));
    await left.send(...CANCELLED);
    await poolShows(pooler, 'scripted', 'vanish', {
      cl_waiting: 1,
      cl_active_cancel_req: 0,
      cl_waiting_cancel_req: 0,
      sv_active: 0,
      sv_active_cancel: 1,
      sv_being_canceled: 1,
    });
    await sweepsPass();
    expect(left.unread).toBe(0);
    scene.front.closeCancels();
    await servesNext(scene, left);
    expect(scene.front.cancels).toBe(1);
  });

  test('is cancelled again while something runs', async () => {
    await using scene = await stage({
      requests: [frontend.query('SELECT one'), frontend.query('SELECT two')],
    });
    await scene.left.send(...CANCELLED);
    await scene.front.isCancelled(scene.front.cancels + 1);
    await scene.left.send(...CANCELLED);
    await servesNext(scene, scene.left);
  });

  test('without a cancel key is waited for', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1 },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      own: { server_close_timeout: 60 },
      userlist: { vanish: '' },
    });
    const loggingIn = connectAndLogin(pooler.port, login);
    const left = await server.accept();
    await left.packet();
    await left.send(backend.authenticationOk(), backend.readyForQuery());
    const gone = await loggingIn;
    await gone.send(frontend.query('SELECT gone'));
    await left.message('Q');
    gone.reset();
    await poolShows(pooler, 'scripted', 'vanish', { sv_being_canceled: 1 });
    await sweepsPass();
    await left.send(...DONE);
    await poolShows(pooler, 'scripted', 'vanish', { sv_being_canceled: 0, sv_idle: 1 });
    expect(server.accepted).toBe(1);
    // Nobody has asked for a cancel.
    expect(pooler.lines.filter((line) => line.includes('cancel request'))).toEqual([]);
  });

  test('gets a Sync that never came, behind a request that fails', async () => {
    await using scene = await stage({
      requests: [frontend.parse('', 'SELECT 1'), frontend.bind('', ''), frontend.execute('')],
    });
    const { left } = scene;
    expect((await left.message('f')).body.toString()).toBe('client is gone\0');
    expect((await left.message('E')).body.toString()).toMatch(/^pgweir_client_is_gone_[0-9a-f]{32}\0/);
    await left.message('S');
    await left.send(message('1'), message('2'), backend.commandComplete('SELECT 1'));
    await left.send(backend.errorResponse({ S: 'ERROR', C: '34000', M: 'portal does not exist' }));
    await sweepsPass(1);
    expect(left.unread).toBe(0);
    await left.send(backend.readyForQuery());
    await servesNext(scene, left);
  });

  test('gets a CopyFail as soon as it wants data, and one only', async () => {
    await using scene = await stage({ requests: [frontend.query('COPY gone FROM STDIN')] });
    const { left } = scene;
    expect(left.unread).toBe(0);
    await left.send(message('G', Buffer.of(0), int16(0)));
    await left.message('f');
    await left.send(backend.errorResponse({ S: 'ERROR', C: '57014', M: 'COPY failed' }));
    await left.send(backend.readyForQuery());
    await servesNext(scene, left);
  });

  test.each([
    'T',
    'E',
  ] as const)('and that is in a transaction (%s) when all is answered, is closed', async (status) => {
    await using scene = await stage();
    await scene.left.send(backend.commandComplete('BEGIN'), backend.readyForQuery(status));
    await scene.left.message('X');
    await scene.left.close();
    await servesNext(scene);
    expect(scene.pooler.lines.filter((line) => line.includes(NOT_READY))).toHaveLength(1);
  });

  test('and that was in a transaction before, is kept if that is over', async () => {
    await using scene = await stage({
      requests: [frontend.query('COMMIT')],
      firstAnswer: [backend.commandComplete('BEGIN'), backend.readyForQuery('T')],
    });
    await scene.left.send(backend.commandComplete('COMMIT'), backend.readyForQuery());
    await servesNext(scene, scene.left);
  });
});

describe('a server whose client is gone is closed, and the next client gets another one, when it', () => {
  test('stalls: after server_close_timeout, and its place is given away as that of any', async () => {
    await using scene = await stage({ own: { server_close_timeout: 0.5, server_cancel_timeout: 0.5 } });
    const { left, pooler, goneMs } = scene;
    await left.message('X');
    expect(performance.now() - goneMs).toBeGreaterThan(480);
    expect(pooler.lines.filter((line) => line.includes(NOT_READY))).toHaveLength(1);
    await poolShows(pooler, 'scripted', 'vanish', { cl_waiting: 1, sv_being_canceled: 0, sv_login: 0 });
    // Its slot is taken until it is gone, or all deadlines have passed.
    await servesNext(scene);
    expect(performance.now() - goneMs).toBeGreaterThan(1480);
  });

  test('floods with a result of which nobody wants anything', async () => {
    await using scene = await stage();
    const row = backend.dataRow('x'.repeat(1_000_000));
    scene.left.socket.on('error', () => {});
    await scene.left.send(backend.rowDescription('a'));
    for (let i = 0; i < 20; i++) await scene.left.send(row);
    await scene.left.message('X');
    await scene.left.close();
    await servesNext(scene);
  });

  test('dies', async () => {
    await using scene = await stage();
    await scene.left.send(backend.rowDescription('a'));
    scene.left.reset();
    await servesNext(scene);
    expect(scene.pooler.lines.filter((line) => line.includes('server conn crashed?'))).toHaveLength(1);
  });

  test('ends in the middle of a message', async () => {
    await using scene = await stage();
    await scene.left.send(backend.dataRow('half').subarray(0, 8));
    await scene.left.close();
    await servesNext(scene);
  });

  test.each([
    ['is ready once too often', [...DONE, backend.readyForQuery()]],
    ['sends what no server sends', [message('R', 0)]],
    ['sends a message of a negative length', [Buffer.from([0x44, 255, 255, 255, 255])]],
    ['has become another user', [backend.parameterStatus('session_authorization', 'boss'), ...DONE]],
    ['has got a search_path', [backend.parameterStatus('search_path', 'x'), ...DONE]],
  ] as const)('%s', async (_what, answer) => {
    await using scene = await stage();
    await scene.left.send(...answer);
    await scene.left.end();
    await scene.left.close();
    await servesNext(scene);
  });

  test.each([
    ['answers fewer than it was asked', [...CANCELLED]],
    ['sends rows behind its last answer', [...CANCELLED, ...CANCELLED, backend.dataRow('more')]],
    ['has begun another message', [...DONE, ...DONE, backend.dataRow('half').subarray(0, 8)]],
  ] as const)('%s', async (_what, answer) => {
    await using scene = await stage({
      requests: [frontend.query('SELECT one'), frontend.query('SELECT two')],
      own: { server_close_timeout: 0.4 },
    });
    await scene.left.send(...answer);
    await scene.left.message('X');
    await scene.left.close();
    await servesNext(scene);
  });
});

describe('while a server is drained', () => {
  test('PAUSE waits for it, and closes it', async () => {
    await using scene = await stage();
    const pausing = scene.pooler.show('PAUSE');
    await poolShows(scene.pooler, 'scripted', 'vanish', { sv_being_canceled: 1 });
    await scene.left.send(...CANCELLED);
    await scene.left.message('X');
    await scene.left.close();
    await within(pausing, 'the end of PAUSE');
    expect(scene.pooler.lines.some((line) => line.includes('closing because: pause mode'))).toBe(true);
  });

  test('RECONNECT replaces it', async () => {
    await using scene = await stage();
    await scene.pooler.show('RECONNECT');
    await scene.left.send(...CANCELLED);
    await scene.left.message('X');
    await scene.left.close();
    await servesNext(scene);
    expect(scene.pooler.lines.some((line) => line.includes('closing because: close_needed'))).toBe(true);
  });

  test('RELOAD with another address replaces it', async () => {
    await using other = await ScriptedServer.listen();
    await using scene = await stage();
    await scene.pooler.reload({ databases: { scripted: `host=127.0.0.1 port=${other.port}` } });
    await scene.left.send(...CANCELLED);
    await scene.left.message('X');
    await scene.left.close();
    await servesNext(scene, await other.acceptLogin());
  });

  test('KILL closes it', async () => {
    await using scene = await stage();
    await scene.pooler.show('KILL scripted');
    await scene.left.message('X');
    await scene.left.close();
    await waitFor(() => scene.pooler.pooler.state.budget.count('server') === 0);
  });

  test('SHUTDOWN WAIT_FOR_SERVERS waits for it', async () => {
    await using scene = await stage();
    await scene.pooler.show('SHUTDOWN WAIT_FOR_SERVERS');
    await sweepsPass();
    expect(scene.pooler.hasExited).toBe(false);
    await scene.left.send(...CANCELLED);
    await scene.left.message('X');
    await scene.left.close();
    await waitFor(() => scene.pooler.hasExited);
  });
});
