import { describe, expect, test } from 'vitest';
import { errorFields, frontend, lyingMessage, message } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { connectAndLogin } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';

describe('the console', () => {
  test.for([
    ['a query without its zero byte', message('Q', Buffer.from('SHOW VERSION')), 'bad packet'],
    ['a query that is too long', frontend.query('x'.repeat(16_384)), 'incomplete pkt'],
    ['a query that is far too long', frontend.query('x'.repeat(50_000)), 'incomplete pkt'],
    ['a length beyond all bounds', lyingMessage('Q', 0x100000), "bad packet header: '5100100000'"],
    ['a negative length', lyingMessage('Q', -1), "bad packet header: '51ffffffff'"],
    ['an unknown type', message('?'), 'unsupported packet type for admin console: 63'],
  ] as const)('ends at %s', async ([, bytes, text]) => {
    await using pooler = await startPooler();
    const healthy = await pooler.admin();
    const peer = await connectAndLogin(pooler.port, { user: sharedPostgres().user, database: 'pgbouncer' });
    await peer.send(bytes);
    const error = errorFields((await peer.messagesTo('E')).at(-1)?.body ?? Buffer.alloc(0));
    expect(error).toMatchObject({ S: 'FATAL', C: '08P01', M: text });
    expect(await peer.end()).toHaveLength(0);
    await peer.close();
    expect((await healthy.query('SHOW VERSION')).rows).toHaveLength(1);
    await healthy.end();
  });

  test('reads little ahead of a command that waits', async () => {
    await using pooler = await startPooler({ settings: { pool_mode: 'transaction' } });
    const holder = await pooler.client();
    await holder.query('BEGIN');
    const peer = await connectAndLogin(pooler.port, { user: sharedPostgres().user, database: 'pgbouncer' });
    await peer.send(frontend.query('PAUSE'));
    await waitFor(() => pooler.pooler.state.isPaused);
    // More than kernels hold for a connection of which one end is not read.
    const flood = 32 * 1024 * 1024;
    void peer.send(Buffer.alloc(flood, frontend.query('SHOW VERSION')));
    await sweepsPass();
    expect(peer.socket.writableLength).toBeGreaterThan(0);
    await peer.close();
    await holder.end();
  });
});
