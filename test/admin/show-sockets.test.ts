import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ClientState, ServerState } from '../../src/admin/snapshot.ts';
import { client, query, record, rig, server } from './fake-control.ts';

const zone = process.env['TZ'];

beforeEach(() => {
  process.env['TZ'] = 'Europe/Berlin';
});

afterEach(() => {
  if (zone === undefined) delete process.env['TZ'];
  else process.env['TZ'] = zone;
});

const clientStates: readonly ClientState[] = [
  'login',
  'waiting_login',
  'active',
  'idle',
  'waiting',
  'active_cancel_req',
  'waiting_cancel_req',
];

const serverStates: readonly ServerState[] = [
  'active',
  'idle',
  'used',
  'tested',
  'new',
  'active_cancel',
  'being_canceled',
];

const everyState = {
  clients: clientStates.map((state) => client({ state })),
  servers: serverStates.map((state) => server({ state })),
};

async function states(text: string): Promise<string[]> {
  const answer = await query(rig('stats', everyState), text);
  return answer.rows.map((row) => `${row[0]} ${row[4]}`);
}

test('a client’s row, cell by cell', async () => {
  const linked = client({
    id: 255,
    state: 'active',
    replication: 'logical',
    waitUs: 61_000_007,
    closeNeeded: true,
    linkId: 4096,
    remotePid: 77,
    tls: 'TLSv1.3/TLS_AES_256_GCM_SHA384',
    applicationName: 'app "1"',
    preparedStatements: 3,
  });
  const answer = await query(rig('stats', { clients: [linked] }), 'SHOW CLIENTS');
  expect(record(answer)).toEqual({
    type: 'C',
    user: 'ann',
    database: 'shop',
    replication: 'logical',
    state: 'active',
    addr: '10.0.0.9',
    port: '50000',
    local_addr: '10.0.0.1',
    local_port: '6432',
    connect_time: '2026-01-02 04:04:05 CET',
    request_time: '2026-01-02 04:04:59 CET',
    wait: '61',
    wait_us: '7',
    close_needed: '1',
    ptr: '0xff',
    link: '0x1000',
    remote_pid: '77',
    tls: 'TLSv1.3/TLS_AES_256_GCM_SHA384',
    application_name: 'app "1"',
    prepared_statements: '3',
    id: '255',
  });
});

test('what isn’t known yet is named so, and what isn’t there is empty, not NULL', async () => {
  const young = server({ user: null, database: null, state: 'new', addr: 'unix' });
  const row = record(await query(rig('stats', { servers: [young] }), 'SHOW SERVERS'));
  expect(row).toMatchObject({ type: 'S', user: '(nouser)', database: '(nodb)', addr: 'unix' });
  expect(row).toMatchObject({ link: '', tls: '', wait: '0', wait_us: '0', close_needed: '0' });
});

test('ptr of one end is link of the other', async () => {
  const pair = { clients: [client({ id: 300, linkId: 301 })], servers: [server({ id: 301, linkId: 300 })] };
  const one = record(await query(rig('stats', pair), 'SHOW CLIENTS'));
  const other = record(await query(rig('stats', pair), 'SHOW SERVERS'));
  expect([one['ptr'], one['link']]).toEqual([other['link'], other['ptr']]);
});

describe('who is listed', () => {
  test('SHOW CLIENTS leaves out those that log in', async () => {
    expect(await states('SHOW CLIENTS')).toEqual([
      'C active',
      'C idle',
      'C waiting',
      'C active_cancel_req',
      'C waiting_cancel_req',
    ]);
  });

  test('SHOW SERVERS has every server', async () => {
    expect(await states('SHOW SERVERS')).toEqual(serverStates.map((state) => `S ${state}`));
  });

  test('SHOW SOCKETS has logins of both sides, and no carrier of a cancel request', async () => {
    expect(await states('SHOW SOCKETS')).toEqual([
      'C cl_login',
      'C cl_waiting_login',
      'C cl_active',
      'C cl_idle',
      'C cl_waiting',
      'S sv_active',
      'S sv_idle',
      'S sv_used',
      'S sv_tested',
      'S sv_login',
      'S sv_being_canceled',
    ]);
  });

  test('SHOW ACTIVE_SOCKETS has those with bytes in hand or to come', async () => {
    const answer = await query(
      rig('stats', {
        clients: [client({ id: 1 }), client({ id: 2, pktRemain: 5 }), client({ id: 3, state: 'login' })],
        servers: [
          server({ id: 4, pktAvail: 1 }),
          server({ id: 5, sendAvail: 1 }),
          server({ id: 6, recvPos: 9 }),
        ],
      }),
      'SHOW ACTIVE_SOCKETS',
    );
    expect(answer.rows.map((row) => row[20])).toEqual(['2', '4', '5']);
  });
});

test('SHOW SOCKETS ends with the buffer’s positions', async () => {
  const reading = client({ recvPos: 1, pktPos: 2, pktRemain: 3, sendPos: 4, pktAvail: 6, sendAvail: 7 });
  const answer = await query(rig('stats', { clients: [reading] }), 'SHOW SOCKETS');
  expect(answer.rows[0]?.slice(21)).toEqual(['1', '2', '3', '4', '0', '6', '7']);
});

test('SHOW FDS shows no cancel key, password or SCRAM key', async () => {
  const answer = await query(
    rig('admin', {
      fds: [
        {
          fd: 12,
          task: 'client',
          user: 'ann',
          database: 'shop',
          addr: 'unix',
          port: 6432,
          linkFd: 13,
          clientEncoding: 'UTF8',
          standardConformingStrings: 'on',
          dateStyle: 'ISO, MDY',
          timeZone: 'GMT',
        },
      ],
    }),
    'SHOW FDS',
  );
  const expected = [
    '12',
    'client',
    'ann',
    'shop',
    'unix',
    '6432',
    '0',
    '13',
    'UTF8',
    'on',
    'ISO, MDY',
    'GMT',
  ];
  expect(answer.rows).toEqual([[...expected, null, null, null]]);
});
