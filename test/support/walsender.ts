import { frontend, message } from './peer-messages.ts';
import type { WireClient } from './wire-client.ts';

/** Lines of `pg_hba.conf` that let roles replicate, as `testHba` lets them log in. */
export const replicationHba: readonly string[] = [
  'host replication +auth_trust 127.0.0.1/32 trust',
  'host replication all 127.0.0.1/32 scram-sha-256',
];

/** A piece of WAL, or what a decoder made of it. Source: manual, `protocol-replication`, XLogData. */
export interface WalData {
  /** Where in the WAL it begins. */
  readonly start: bigint;
  readonly data: Buffer;
}

/** `0/16B3748` as a number. */
export function lsnOf(text: string): bigint {
  const [high = '', low = ''] = text.split('/');
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}

/** A number as `0/16B3748`. */
export function lsnText(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16)}/${(lsn & 0xffff_ffffn).toString(16)}`.toUpperCase();
}

/** A standby status update: everything up to `lsn` is safe; the walsender may be asked to answer at once. */
export function statusUpdate(lsn: bigint, wantsReply: boolean): Buffer {
  const body = Buffer.alloc(34);
  body.write('r');
  for (const at of [1, 9, 17]) body.writeBigInt64BE(lsn, at);
  body.writeInt8(wantsReply ? 1 : 0, 33);
  return message('d', body);
}

/** Sends START_REPLICATION and waits until the stream has begun. */
export async function startStream(client: WireClient, command: string): Promise<void> {
  await client.send(frontend.query(`START_REPLICATION ${command}`));
  const { type, body } = await client.peer.message();
  if (type !== 'W') throw new Error(`no stream, but ${type}: ${body.toString('latin1')}`);
}

/** The next XLogData; keepalives are passed over. */
export async function nextWal(client: WireClient): Promise<WalData> {
  for (;;) {
    const { body } = await client.peer.message('d');
    if (body[0] === 0x77) return { start: body.readBigInt64BE(1), data: body.subarray(25) };
  }
}

/** `bytes` of WAL from `start` on, which must come without a gap. */
export async function walOf(client: WireClient, start: bigint, bytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let have = 0;
  while (have < bytes) {
    const { start: at, data } = await nextWal(client);
    if (at !== start + BigInt(have)) throw new Error(`a gap in the WAL at ${lsnText(start + BigInt(have))}`);
    pieces.push(data);
    have += data.length;
  }
  return Buffer.concat(pieces).subarray(0, bytes);
}

/** Ends the stream from the client's side; gives the types of the messages that end it. */
export async function endStream(client: WireClient): Promise<string> {
  await client.send(frontend.copyDone());
  const { types } = await client.answer();
  return types.replace(/^d*/, '');
}
