import { AdminConsole } from '../../src/admin/console.ts';
import type { Role } from '../../src/admin/access.ts';
import { type Control, type ControlReply, type ControlRequest, controlOk } from '../../src/admin/control.ts';
import type {
  ClientSnapshot,
  ServerSnapshot,
  SnapshotKind,
  Snapshots,
  SocketSnapshot,
  StatCounters,
} from '../../src/admin/snapshot.ts';
import type { Logger } from '../../src/base/log.ts';
import { FrontendType } from '../../src/wire/codes.ts';

export const noSnapshots: Snapshots = {
  stats: [],
  clients: [],
  servers: [],
  pools: [],
  peerPools: [],
  peers: [],
  databases: [],
  users: [],
  lists: [],
  config: [],
  mem: [],
  dnsHosts: [],
  dnsZones: [],
  fds: [],
  state: [],
  workers: [],
};

/** A process that answers from a script and remembers what it was asked. */
export class FakeControl implements Control {
  readonly requests: ControlRequest[] = [];
  snapshots: Snapshots = noSnapshots;
  answer: (request: ControlRequest, signal: AbortSignal) => Promise<ControlReply> = async () => controlOk;

  request(request: ControlRequest, signal: AbortSignal): Promise<ControlReply> {
    this.requests.push(request);
    return this.answer(request, signal);
  }

  async snapshot<K extends SnapshotKind>(kind: K): Promise<Snapshots[K]> {
    // What crosses threads must survive the trip.
    return structuredClone(this.snapshots[kind]);
  }
}

/** A console with its fake process and the lines it logged. */
export interface Rig {
  readonly control: FakeControl;
  readonly console: AdminConsole;
  readonly lines: string[];
  readonly abort: AbortController;
}

export function rig(role: Role = 'admin', snapshots: Partial<Snapshots> = {}): Rig {
  const control = new FakeControl();
  control.snapshots = { ...noSnapshots, ...snapshots };
  const lines: string[] = [];
  const log: Logger = { enabled: () => true, log: (level, message) => lines.push(`${level} ${message}`) };
  const version = 'PgBouncer 1.25.2 (pgweir 9.9.9)';
  return {
    control,
    lines,
    console: new AdminConsole({ role, user: 'ann', control, log, version }),
    abort: new AbortController(),
  };
}

/** What a console's answer says, message by message. */
export interface Answer {
  /** Type letters in order. */
  readonly types: string;
  /** Of the last ReadyForQuery; empty without one. */
  readonly status: string;
  /** `name:oid` of each column. */
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | null)[])[];
  readonly tag: string | null;
  /** Fields of the ErrorResponse or NoticeResponse by their letter. */
  readonly error: Readonly<Record<string, string>> | null;
  readonly notice: Readonly<Record<string, string>> | null;
  readonly closeReason: string | null;
}

export async function query(target: Rig, text: string): Promise<Answer> {
  return send(target, FrontendType.Query, Buffer.from(`${text}\0`));
}

export async function send(target: Rig, type: number, body: Buffer): Promise<Answer> {
  const { bytes, closeReason } = await ask(target.console, type, body, target.abort.signal);
  return { ...decode(bytes), closeReason };
}

/** What a console says to a message, all in one. */
export async function ask(console: AdminConsole, type: number, body: Buffer, signal: AbortSignal) {
  const parts: Buffer[] = [];
  const reply = await console.message(type, body, signal, async (bytes) => void parts.push(bytes));
  return { ...reply, bytes: Buffer.concat([...parts, reply.bytes]) };
}

/** Splits and reads the messages; throws when a length doesn't fit. */
export function decode(bytes: Buffer): Omit<Answer, 'closeReason'> {
  const answer = {
    types: '',
    status: '',
    columns: [] as string[],
    rows: [] as (string | null)[][],
    tag: null as string | null,
    error: null as Record<string, string> | null,
    notice: null as Record<string, string> | null,
  };
  let at = 0;
  while (at < bytes.length) {
    const type = String.fromCharCode(bytes.readUInt8(at));
    const body = bytes.subarray(at + 5, at + 1 + bytes.readInt32BE(at + 1));
    at += 1 + bytes.readInt32BE(at + 1);
    answer.types += type;
    if (type === 'T') answer.columns = columnsOf(body);
    else if (type === 'D') answer.rows.push(cellsOf(body));
    else if (type === 'C') answer.tag = body.toString('utf8', 0, body.length - 1);
    else if (type === 'E') answer.error = fieldsOf(body);
    else if (type === 'N') answer.notice = fieldsOf(body);
    else if (type === 'Z') answer.status = body.toString('latin1');
  }
  if (at !== bytes.length) throw new Error('a message is longer than the bytes');
  return answer;
}

function columnsOf(body: Buffer): string[] {
  const columns: string[] = [];
  let at = 2;
  for (let i = 0; i < body.readInt16BE(0); i++) {
    const nul = body.indexOf(0, at);
    columns.push(`${body.toString('utf8', at, nul)}:${body.readInt32BE(nul + 7)}`);
    at = nul + 19;
  }
  if (at !== body.length) throw new Error('RowDescription has bytes left');
  return columns;
}

function cellsOf(body: Buffer): (string | null)[] {
  const cells: (string | null)[] = [];
  let at = 2;
  for (let i = 0; i < body.readInt16BE(0); i++) {
    const length = body.readInt32BE(at);
    at += 4;
    cells.push(length < 0 ? null : body.toString('utf8', at, at + length));
    at += Math.max(length, 0);
  }
  if (at !== body.length) throw new Error('DataRow has bytes left');
  return cells;
}

function fieldsOf(body: Buffer): Record<string, string> {
  const parts = body.toString('utf8', 0, body.length - 2).split('\0');
  return Object.fromEntries(parts.map((part) => [part.slice(0, 1), part.slice(1)]));
}

/** One row as an object by column name. */
export function record(answer: Answer, row = 0): Record<string, string | null> {
  return Object.fromEntries(
    answer.columns.map((column, i) => [column.replace(/:.*/, ''), answer.rows[row]?.[i] ?? null]),
  );
}

const socket: SocketSnapshot = {
  id: 10,
  user: 'ann',
  database: 'shop',
  replication: 'none',
  addr: '10.0.0.9',
  port: 50000,
  localAddr: '10.0.0.1',
  localPort: 6432,
  connectWallMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
  requestWallMs: Date.UTC(2026, 0, 2, 3, 4, 59),
  waitUs: 0,
  closeNeeded: false,
  linkId: null,
  remotePid: 0,
  tls: '',
  applicationName: 'psql',
  preparedStatements: 0,
  recvPos: 0,
  pktPos: 0,
  pktRemain: 0,
  sendPos: 0,
  pktAvail: 0,
  sendAvail: 0,
};

export function client(fields: Partial<ClientSnapshot> = {}): ClientSnapshot {
  return { ...socket, state: 'idle', ...fields };
}

export function server(fields: Partial<ServerSnapshot> = {}): ServerSnapshot {
  return { ...socket, state: 'idle', ...fields };
}

/** Counters of distinct values: `from`, `from + 1`, and so on in column order. */
export function counters(from: number): StatCounters {
  return {
    serverAssignmentCount: from,
    xactCount: from + 1,
    queryCount: from + 2,
    received: from + 3,
    sent: from + 4,
    xactTimeUs: from + 5,
    queryTimeUs: from + 6,
    waitTimeUs: from + 7,
    clientParseCount: from + 8,
    serverParseCount: from + 9,
    bindCount: from + 10,
    clientLoginCount: from + 11,
  };
}
