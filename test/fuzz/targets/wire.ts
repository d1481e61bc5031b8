import { readStartupParameters } from '../../../src/client/startup-parameters.ts';
import { TrackedParameters } from '../../../src/relay/tracked-parameters.ts';
import { RequestStream } from '../../../src/relay/request-stream.ts';
import { parseDataRow } from '../../../src/wire/data-row.ts';
import { parseErrorFields } from '../../../src/wire/error-fields.ts';
import { parseParameterStatus } from '../../../src/wire/parameter-status.ts';
import { ProtocolViolation } from '../../../src/wire/pg-error.ts';
import { parseStartupPacket, startupPacketLength } from '../../../src/wire/startup-packet.ts';
import { ask, FakeRequestHost, FakeResponseHost } from '../../relay/kit.ts';
import { backend, frontend, int16, message } from '../../support/peer-messages.ts';
import { allowing, must, type Target } from '../target.ts';

const tracked = new TrackedParameters(['IntervalStyle']);
const LETTERS = [...'QPBDECSHFXdcfp', ...'RKSTZN12nCIstEGHWVAv'];

const startup: Target = {
  name: 'startup',
  seeds: [
    frontend.startup({ user: 'u', database: 'd', options: '-c search_path=a --TimeZone=UTC', '_pq_.x': '1' }),
    frontend.startup({ user: 'u', replication: 'database', application_name: 'a\\b' }),
    frontend.cancelRequest(1, Buffer.alloc(4)),
    Buffer.of(0, 0, 0, 8, 4, 210, 22, 47),
    Buffer.of(0, 0, 0, 8, 4, 210, 22, 48),
  ],
  words: [
    'user\0',
    'options\0',
    '-c ',
    '-c=',
    '--',
    '=',
    '\\',
    '\\ ',
    'replication\0',
    '_pq_.',
    '\0',
    '\0\0',
    'database',
  ],
  maxBytes: 70_000,
  run: (bytes) => {
    allowing([ProtocolViolation], () => {
      const length = startupPacketLength(bytes);
      must(length >= 8 && length <= 65_535, 'a length that is waited for');
      const packet = parseStartupPacket(bytes);
      if (packet.kind !== 'startup') return;
      must(packet.protocolMinor >= 0, 'a minor version');
      for (const ignored of [[], ['options']]) {
        const request = readStartupParameters(packet.parameters, tracked, ignored);
        if ('message' in request) continue;
        must(request.user !== '' && Buffer.byteLength(request.user) <= 127, 'a user that may be one');
        must(!request.user.includes('\0') && !request.database.includes('\0'), 'names without a zero');
      }
    });
  },
};

const bodies: Target = {
  name: 'bodies',
  seeds: [
    backend.errorResponse({ S: 'ERROR', V: 'ERROR', C: '42601', M: 'no', P: '5' }).subarray(5),
    Buffer.from('TimeZone\0UTC\0'),
    backend.dataRow('x', 'y').subarray(5),
  ],
  words: ['\0', 'M', 'C', 'P', 'TimeZone'],
  maxBytes: 4096,
  run: (bytes) => {
    parseErrorFields(bytes);
    allowing([ProtocolViolation], () => parseParameterStatus(bytes, 0, bytes.length));
    allowing([ProtocolViolation], () => parseDataRow(bytes));
  },
};

/** Where a stream is cut: its first two bytes say. */
function cut(bytes: Buffer): Buffer[] {
  const rest = bytes.subarray(2);
  const [first = 0, second = 0] = [(bytes[0] ?? 0) % (rest.length + 1), (bytes[1] ?? 0) % (rest.length + 1)];
  const [a, b] = [Math.min(first, second), Math.max(first, second)];
  return [rest.subarray(0, a), rest.subarray(a, b), rest.subarray(b)].filter(({ length }) => length > 0);
}

const answers = [
  message('1'),
  message('2'),
  message('t', int16(1), Buffer.alloc(4)),
  backend.rowDescription('a'),
  backend.dataRow('1'),
  backend.commandComplete('SELECT 1'),
  backend.errorResponse({ S: 'ERROR', C: '42601', M: 'no' }),
  backend.parameterStatus('TimeZone', 'UTC'),
  message('G', Buffer.of(0), int16(0)),
  message('W', Buffer.of(0), int16(0)),
  message('d', 'row'),
  backend.readyForQuery(),
  backend.readyForQuery('E'),
];

const responses: Target = {
  name: 'responses',
  seeds: [
    Buffer.concat([Buffer.of(3, 40), ...answers]),
    ...answers.map((each) => Buffer.concat([Buffer.of(1, 4), each])),
  ],
  words: [
    ...LETTERS,
    '\0\0\0\x04',
    '\0\0\0\x05I',
    'Z\0\0\0\x05I',
    'Z\0\0\0\x05T',
    '1\0\0\0\x04',
    '\x7f\xff\xff\xff',
  ],
  maxBytes: 2048,
  run: (bytes) => {
    const read = (chunks: readonly Buffer[]): FakeResponseHost => {
      const host = new FakeResponseHost();
      ask(host.tracker, ['PBDES', 'Q', 'S', ['P', 1], 'QcQdf', 'S']);
      return host.feed(chunks);
    };
    const [whole, cuts] = [read([bytes.subarray(2)]), read(cut(bytes))];
    must(whole.conn.areUntouched && cuts.conn.areUntouched, 'bytes that were given away are left alone');
    must(whole.conn.bytes.equals(cuts.conn.bytes), 'the client gets the same, wherever it was cut');
    must(
      JSON.stringify(whole.events) === JSON.stringify(cuts.events),
      'the same happens, wherever it was cut',
    );
  },
};

const asked = [
  frontend.query('SELECT 1'),
  frontend.parse('a', 'SELECT $1'),
  frontend.bindTexts('', 'a', ['x']),
  frontend.describe('P', ''),
  frontend.execute(''),
  frontend.close('S', 'a'),
  frontend.sync(),
  message('H'),
  message('d', 'row'),
  message('c'),
  message('X'),
];

const requests: Target = {
  name: 'requests',
  seeds: [
    Buffer.concat([Buffer.of(3, 40), ...asked]),
    ...asked.map((each) => Buffer.concat([Buffer.of(1, 4), each])),
  ],
  words: [...LETTERS, '\0\0\0\x04', 'S\0\0\0\x04', 'X\0\0\0\x04', '\x80\0\0\0'],
  maxBytes: 2048,
  run: (bytes) => {
    const read = (chunks: readonly Buffer[]): FakeRequestHost => {
      const host = new FakeRequestHost();
      const stream = new RequestStream(host, 0x7fffffff);
      for (const chunk of chunks) {
        const lent = Buffer.from(chunk);
        const pos = stream.feed(lent, 0, lent.length);
        lent.fill(0xdd);
        if (pos < lent.length) break;
        if (host.events.some((event) => event === 'terminate' || event.startsWith('violation'))) break;
      }
      return host;
    };
    const [whole, cuts] = [read([bytes.subarray(2)]), read(cut(bytes))];
    const sent = (host: FakeRequestHost) => host.target?.conn.bytes as Buffer;
    must(sent(whole).equals(sent(cuts)), 'the server gets the same, wherever it was cut');
    const happened = (host: FakeRequestHost) =>
      JSON.stringify(host.events.filter((event) => event !== 'sent'));
    must(happened(whole) === happened(cuts), 'the same happens, wherever it was cut');
  },
};

export const wireTargets: readonly Target[] = [startup, bodies, responses, requests];
