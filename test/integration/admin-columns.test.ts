import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectConsole } from '../support/console.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';

const OIDS = { t: 25, i: 23, q: 20, n: 1700, b: 17 } as const;

/** `t:a,b i:c` as [name, type OID] pairs. */
function columns(text: string): [string, number][] {
  return text.split(' ').flatMap((group) => {
    const [kind = '', names = ''] = group.split(':');
    return names.split(',').map((name): [string, number] => [name, OIDS[kind as keyof typeof OIDS]]);
  });
}

const COUNTERS =
  'server_assignment_count,xact_count,query_count,bytes_received,bytes_sent,xact_time,query_time,wait_time';
const SOCKET =
  't:type,user,database,replication,state,addr i:port t:local_addr i:local_port t:connect_time,request_time ' +
  'i:wait,wait_us,close_needed t:ptr,link i:remote_pid t:tls,application_name i:prepared_statements,id';
const BUFFERS = 'i:recv_pos,pkt_pos,pkt_remain,send_pos,send_remain,pkt_avail,send_avail';

/** Columns that monitoring reads by name, order and type. */
const SHOWS: Readonly<Record<string, string>> = {
  STATS:
    't:database n:total_server_assignment_count,total_xact_count,total_query_count,total_received,total_sent,' +
    'total_xact_time,total_query_time,total_wait_time,total_client_parse_count,total_server_parse_count,' +
    'total_bind_count,total_client_login_count,avg_server_assignment_count,avg_xact_count,avg_query_count,' +
    'avg_recv,avg_sent,avg_xact_time,avg_query_time,avg_wait_time,avg_client_parse_count,' +
    'avg_server_parse_count,avg_bind_count,avg_client_login_count',
  STATS_TOTALS: `t:database n:${COUNTERS},client_parse_count,server_parse_count,bind_count,client_login_count`,
  STATS_AVERAGES:
    `t:database n:${COUNTERS},avg_client_parse_count,avg_server_parse_count,avg_bind_count,` +
    'avg_client_login_count',
  TOTALS: 't:name n:value',
  CLIENTS: SOCKET,
  SERVERS: SOCKET,
  SOCKETS: `${SOCKET} ${BUFFERS}`,
  ACTIVE_SOCKETS: `${SOCKET} ${BUFFERS}`,
  POOLS:
    't:database,user i:cl_active,cl_waiting,cl_active_cancel_req,cl_waiting_cancel_req,sv_active,' +
    'sv_active_cancel,sv_being_canceled,sv_idle,sv_used,sv_tested,sv_login,maxwait,maxwait_us ' +
    't:pool_mode,load_balance_hosts',
  PEER_POOLS: 'i:peer_id,cl_active_cancel_req,cl_waiting_cancel_req,sv_active_cancel,sv_login',
  PEERS: 'i:peer_id t:host i:port,pool_size',
  DATABASES:
    't:name,host i:port t:database,force_user i:pool_size,min_pool_size,reserve_pool_size,server_lifetime ' +
    't:pool_mode,load_balance_hosts i:max_connections,current_connections,max_client_connections,' +
    'current_client_connections,paused,disabled',
  USERS:
    't:name,pool_size,reserve_pool_size,pool_mode i:max_user_connections,current_connections,' +
    'max_user_client_connections,current_client_connections',
  LISTS: 't:list i:items',
  CONFIG: 't:key,value,default,changeable',
  MEM: 't:name i:size,used,free,memtotal',
  DNS_HOSTS: 't:hostname q:ttl t:addrs',
  DNS_ZONES: 't:zonename q:serial i:count',
  FDS:
    'i:fd t:task,user,database,addr i:port q:cancel i:link t:client_encoding,std_strings,datestyle,timezone,' +
    'password b:scram_client_key,scram_server_key',
  STATE: 't:key,value',
  VERSION: 't:version',
};

let pooler: LocalPooler;
let admin: pg.Client;

beforeAll(async () => {
  pooler = await startPooler();
  admin = await pooler.admin();
});

afterAll(async () => {
  await admin.end();
  await pooler[Symbol.asyncDispose]();
});

test.each(
  Object.entries(SHOWS),
)('SHOW %s has the names, order and types that monitoring expects', async (what, text) => {
  const result = await admin.query(`SHOW ${what}`);
  expect(result.fields.map(({ name, dataTypeID }) => [name, dataTypeID])).toEqual(columns(text));
  expect(result.command).toBe('SHOW');
  expect(result.fields.every(({ tableID, columnID }) => tableID === 0 && columnID === 0)).toBe(true);
  expect(
    result.fields.every(({ dataTypeModifier, format }) => dataTypeModifier === -1 && format === 'text'),
  ).toBe(true);
});

test('SELECT and lower case do as SHOW, the text of help comes as a notice', async () => {
  expect((await admin.query('select version;')).rows).toEqual((await admin.query('SHOW VERSION')).rows);
  const notices: (string | undefined)[] = [];
  admin.on('notice', (notice) => notices.push(notice.message));
  const { rows, command } = await admin.query('SHOW HELP');
  expect([rows, command, notices]).toEqual([[], 'SHOW', ['Console usage']]);
});

test('several commands typed ahead are answered in order', async () => {
  const peer = await connectConsole(pooler.port, sharedPostgres().user);
  await peer.send(
    frontend.query('SHOW STATE'),
    frontend.query('SHOW nothing'),
    frontend.query('SHOW VERSION'),
  );
  const types: string[] = [];
  for (let round = 0; round < 3; round++) {
    types.push((await peer.messagesTo('Z')).map(({ type }) => type).join(''));
  }
  expect(types).toEqual(['TDDDCZ', 'EZ', 'TDCZ']);
  await peer.close();
});
