import { createServer, type AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { backend } from '../support/peer-messages.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { bulkBuffer, RawClient } from './raw-client.ts';

async function connectToPostgres(role: string): Promise<RawClient> {
  const { host, port, ...rest } = sharedPostgres();
  await createRole({ host, port, ...rest }, { name: role, auth: 'trust' });
  const target = { host, port, user: role, password: '', database: 'postgres', tls: false };
  return await RawClient.connect(target, bulkBuffer);
}

test('answers are counted to their last byte, and those of the same query are equally long', async () => {
  const client = await connectToPostgres('raw_counts');
  try {
    const query = "SELECT repeat('x', 1000) FROM generate_series(1, 2000)";
    const bytes = await client.query(query);
    // Per row the message's head and the number and length of its columns; RowDescription, the tag, ReadyForQuery.
    const rows = 2000 * (1000 + 1 + 4 + 2 + 4);
    expect(bytes).toBe(
      rows + (1 + 4 + 2 + 'repeat'.length + 1 + 18) + (1 + 4 + 'SELECT 2000'.length + 1) + 6,
    );
    expect(await client.query(query)).toBe(bytes);
    expect(client.bytes).toBe(2 * bytes);
  } finally {
    client.end();
  }
});

test('COPY sends what it is told to, and the connection can be used again', async () => {
  const client = await connectToPostgres('raw_copies');
  try {
    await client.query('CREATE TEMP TABLE sink (payload text)');
    const sent = await client.copyIn('COPY sink FROM STDIN', 6_400_000);
    expect(sent).toBeGreaterThan(6_400_000);
    const few = await client.query("SELECT repeat('x', 100) FROM sink WHERE length(payload) = 999");
    expect(few).toBeGreaterThan(6400 * 100);
    expect(await client.copyIn('COPY sink FROM STDIN WHERE false', 64_000)).toBeGreaterThan(64_000);
  } finally {
    client.end();
  }
});

test('what the server refuses is told in its words', async () => {
  const client = await connectToPostgres('raw_errors');
  try {
    await expect(client.query('SELECT * FROM nothing_there')).rejects.toThrow(
      'relation "nothing_there" does not exist',
    );
    await expect(client.copyIn('COPY nothing_there FROM STDIN', 1000)).rejects.toThrow('nothing_there');
    expect(client.isOpen).toBe(true);
    const { host, port } = sharedPostgres();
    const target = { host, port, user: 'raw_nobody', password: '', database: 'postgres', tls: false };
    await expect(RawClient.connect(target)).rejects.toThrow('it asks for a password');
    await expect(RawClient.connect({ ...target, user: 'raw_errors', database: 'nowhere' })).rejects.toThrow(
      'database "nowhere" does not exist',
    );
  } finally {
    client.end();
  }
});

test('an answer ends with ReadyForQuery, wherever it is cut', async () => {
  const answer = Buffer.concat([backend.commandComplete('SELECT 0'), backend.readyForQuery()]);
  const login = Buffer.concat([backend.authenticationOk(), backend.readyForQuery()]);
  let cut = -1;
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('data', () => {
      const whole = cut < 0 ? login : answer;
      socket.write(whole.subarray(0, Math.max(0, cut)), () => {
        setImmediate(() => socket.write(whole.subarray(Math.max(0, cut))));
      });
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  const target = { host: '127.0.0.1', port, user: 'x', password: '', database: 'x', tls: false };
  const client = await RawClient.connect(target);
  try {
    for (cut = 0; cut < answer.length; cut++)
      expect(await client.query('SELECT'), `cut at ${cut}`).toBe(answer.length);
  } finally {
    client.end();
    server.close();
  }
});
