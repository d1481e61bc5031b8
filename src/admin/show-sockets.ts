import type { ClientSnapshot, FdSnapshot, ServerSnapshot, SocketSnapshot } from './snapshot.ts';
import { bigint, bytea, type Field, int, type Show, type ShowContext, show, text } from './table.ts';

/** A socket with its type letter and the state to print. */
type Row = SocketSnapshot & { readonly type: 'C' | 'S'; readonly shownState: string };

const SOCKET_FIELDS: readonly Field<Row>[] = [
  text('type', (s) => s.type),
  text('user', (s) => s.user ?? '(nouser)'),
  text('database', (s) => s.database ?? '(nodb)'),
  text('replication', (s) => s.replication),
  text('state', (s) => s.shownState),
  text('addr', (s) => s.addr),
  int('port', (s) => s.port),
  text('local_addr', (s) => s.localAddr),
  int('local_port', (s) => s.localPort),
  text('connect_time', (s, { localTime }) => localTime.seconds(s.connectWallMs)),
  text('request_time', (s, { localTime }) => localTime.seconds(s.requestWallMs)),
  int('wait', (s) => s.waitUs / 1e6),
  int('wait_us', (s) => s.waitUs % 1e6),
  int('close_needed', (s) => s.closeNeeded),
  text('ptr', (s) => socketPointer(s.id)),
  text('link', (s) => (s.linkId === null ? '' : socketPointer(s.linkId))),
  int('remote_pid', (s) => s.remotePid),
  text('tls', (s) => s.tls),
  text('application_name', (s) => s.applicationName),
  int('prepared_statements', (s) => s.preparedStatements),
  int('id', (s) => s.id),
];

const BUFFER_FIELDS: readonly Field<Row>[] = [
  int('recv_pos', (s) => s.recvPos),
  int('pkt_pos', (s) => s.pktPos),
  int('pkt_remain', (s) => s.pktRemain),
  int('send_pos', (s) => s.sendPos),
  int('send_remain', () => 0),
  int('pkt_avail', (s) => s.pktAvail),
  int('send_avail', (s) => s.sendAvail),
];

/** The opaque text that stands for a connection in columns `ptr` and `link`. */
export function socketPointer(id: number): string {
  return `0x${id.toString(16)}`;
}

function isLoggedIn(client: ClientSnapshot): boolean {
  return client.state !== 'login' && client.state !== 'waiting_login';
}

function carriesCancel(socket: ClientSnapshot | ServerSnapshot): boolean {
  return (
    socket.state === 'active_cancel_req' ||
    socket.state === 'waiting_cancel_req' ||
    socket.state === 'active_cancel'
  );
}

/** In SHOW SOCKETS a server that is logging in is `sv_login`, which SHOW SERVERS calls `new`. */
async function allSockets({ control }: ShowContext): Promise<Row[]> {
  const [clients, servers] = await Promise.all([control.snapshot('clients'), control.snapshot('servers')]);
  return [
    ...clients
      .filter((client) => !carriesCancel(client))
      .map((client): Row => ({ ...client, type: 'C', shownState: `cl_${client.state}` })),
    ...servers
      .filter((server) => !carriesCancel(server))
      .map((server): Row => {
        return {
          ...server,
          type: 'S',
          shownState: server.state === 'new' ? 'sv_login' : `sv_${server.state}`,
        };
      }),
  ];
}

/** SHOW CLIENTS: clients that have logged in. */
export const showClients: Show = show(SOCKET_FIELDS, async ({ control }) => {
  const clients = await control.snapshot('clients');
  return clients
    .filter(isLoggedIn)
    .map((client): Row => ({ ...client, type: 'C', shownState: client.state }));
});

/** SHOW SERVERS: server connections from connect to close. */
export const showServers: Show = show(SOCKET_FIELDS, async ({ control }) => {
  const servers = await control.snapshot('servers');
  return servers.map((server): Row => ({ ...server, type: 'S', shownState: server.state }));
});

/** SHOW SOCKETS: clients and servers, those that log in too, those that carry a cancel request not. */
export const showSockets: Show = show([...SOCKET_FIELDS, ...BUFFER_FIELDS], allSockets);

/** SHOW ACTIVE_SOCKETS: those of SHOW SOCKETS that are in the middle of a message or hold bytes. */
export const showActiveSockets: Show = show([...SOCKET_FIELDS, ...BUFFER_FIELDS], async (context) => {
  const sockets = await allSockets(context);
  return sockets.filter((s) => s.pktRemain > 0 || s.pktAvail > 0 || s.sendAvail > 0);
});

/** SHOW FDS. Columns that PgBouncer fills with secrets (cancel key, password, SCRAM keys) are empty here. */
export const showFds: Show = show<FdSnapshot>(
  [
    int('fd', (f) => f.fd),
    text('task', (f) => f.task),
    text('user', (f) => f.user),
    text('database', (f) => f.database),
    text('addr', (f) => f.addr),
    int('port', (f) => f.port),
    bigint('cancel', () => 0),
    int('link', (f) => f.linkFd),
    text('client_encoding', (f) => f.clientEncoding),
    text('std_strings', (f) => f.standardConformingStrings),
    text('datestyle', (f) => f.dateStyle),
    text('timezone', (f) => f.timeZone),
    text('password', () => null),
    bytea('scram_client_key', () => null),
    bytea('scram_server_key', () => null),
  ],
  ({ control }) => control.snapshot('fds'),
);
