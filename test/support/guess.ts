import { frontend, message } from './peer-messages.ts';
import { connectPeer, type ScriptedPeer } from './scripted-peer.ts';

/**
 * What a client that guesses sees of its login: messages with what is random taken out, and its error byte for byte. `to`:
 * a port of 127.0.0.1, or a connection that has come as far as the StartupMessage, encrypted for example.
 */
export async function guess(
  to: number | ScriptedPeer,
  user: string,
  database = 'postgres',
): Promise<string[]> {
  const peer = typeof to === 'number' ? await connectPeer(to) : to;
  const seen: string[] = [];
  await peer.send(frontend.startup({ user, database }));
  for (;;) {
    const { type, body } = await peer.message();
    if (type === 'E') {
      seen.push(`E ${body.toString('latin1')}`);
      break;
    }
    const code = body.readInt32BE(0);
    if (code === 3 || code === 5) {
      seen.push(`R${code} ${body.length}`);
      await peer.send(frontend.password(code === 3 ? 'guess' : `md5${'0'.repeat(32)}`));
    } else if (code === 10) {
      seen.push(`R10 ${body.subarray(4).toString('latin1')}`);
      const first = Buffer.from('n,,n=,r=abcdefgh');
      await peer.send(message('p', 'SCRAM-SHA-256', first.length, first));
    } else {
      const text = body.subarray(4).toString('latin1');
      const salt = /s=([^,]*)/.exec(text)?.[1] ?? '';
      seen.push(
        `R${code} ${text.length} salt ${Buffer.from(salt, 'base64').length} ${/i=\d+/.exec(text)?.[0]}`,
      );
      const nonce = /r=([^,]*)/.exec(text)?.[1] ?? '';
      const proof = Buffer.alloc(32, 1).toString('base64');
      await peer.send(message('p', Buffer.from(`c=biws,r=${nonce},p=${proof}`)));
    }
  }
  seen.push(`end ${(await peer.end()).length}`);
  await peer.close();
  return seen;
}
