import { backend, int16, int32, message } from './peer-messages.ts';
import type { ScriptedPeer } from './scripted-peer.ts';

/** The answer, as PostgreSQL gives it, to what a probe ends with, or to a fence: with the column's name that it asks for. */
export function answerToProbe(probe: string): Buffer {
  if (/^Spgweir_[0-9a-f]{32}\0$/.test(probe)) return Buffer.concat([message('3'), backend.readyForQuery()]);
  const name = /^SELECT 1 AS (pgweir_[0-9a-f]{32})\0$/.exec(probe)?.[1];
  if (name === undefined) throw new Error(`not a probe: ${probe}`);
  const column = [Buffer.from(`${name}\0`), int32(0), int16(0), int32(23), int16(4), int32(-1), int16(0)];
  return Buffer.concat([
    message('T', int16(1), ...column),
    backend.dataRow('1'),
    backend.commandComplete('SELECT 1'),
    backend.readyForQuery(),
  ]);
}

/**
 * What a probe ends with, a Close, and a Sync behind it: it comes when the Syncs ahead of it are answered, with `status`. The
 * answers `owed` come in one chunk with the first of these.
 */
export async function probeOf(
  peer: ScriptedPeer,
  owed: readonly Buffer[] = [],
  status: 'I' | 'T' | 'E' = 'I',
): Promise<string> {
  for (let ahead = owed; ; ahead = []) {
    const { type, body } = await peer.message();
    if (type === 'C') {
      await peer.message('S');
      return body.toString();
    }
    if (type !== 'S') throw new Error(`no part of a probe: ${type}`);
    await peer.send(Buffer.concat([...ahead, backend.readyForQuery(status)]));
  }
}
