import { backend } from './peer-messages.ts';
import type { ScriptedPeer, ScriptedServer } from './scripted-peer.ts';

const ANSWERS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  'SHOW VERSION': [['pgweir 0.0.0']],
  'SHOW STATE': [['active', 'yes']],
  'SHOW DATABASES': [],
};

/** The part of a pooler that a takeover finds, up to the question `last`, which is the script's to answer or not. */
export async function playConsole(
  server: ScriptedServer,
  pidfile: string,
  last: string,
): Promise<ScriptedPeer> {
  for (;;) {
    // Whoever only looks whether anybody is there leaves again.
    const peer = await server.acceptLogin().catch(() => null);
    if (peer === null) continue;
    const asked = (await peer.message('Q')).body.toString('latin1').replace(/\0$/, '');
    if (asked === last) return peer;
    const config = [
      ['so_reuseport', '1'],
      ['pidfile', pidfile],
    ];
    const rows = asked === 'SHOW CONFIG' ? config : (ANSWERS[asked] ?? []);
    await peer.send(
      ...rows.map((row) => backend.dataRow(...row)),
      backend.commandComplete(asked.split(' ')[0] ?? ''),
      backend.readyForQuery(),
    );
  }
}
