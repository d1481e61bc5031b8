import { errorFields, frontend } from './peer-messages.ts';
import { connectPeer, type ScriptedPeer } from './scripted-peer.ts';

/** A logged-in client that knows its cancel key, process ID and secret together. */
export class CancellableClient {
  readonly peer: ScriptedPeer;
  readonly key: Buffer;

  private constructor(peer: ScriptedPeer, key: Buffer) {
    this.peer = peer;
    this.key = key;
  }

  /** Logs in without a password to a TCP port of 127.0.0.1 or a unix socket's path. */
  static async login(
    to: number | string,
    parameters: Readonly<Record<string, string>>,
    protocol = 0x30000,
  ): Promise<CancellableClient> {
    const peer = await connectPeer(to);
    await peer.send(frontend.startup(parameters, protocol));
    const key = (await peer.messagesTo('Z')).find(({ type }) => type === 'K');
    if (key === undefined) throw new Error('no BackendKeyData');
    return new CancellableClient(peer, key.body);
  }

  /** The first column of the only row, or the error's text. */
  async ask(sql: string): Promise<string> {
    await this.peer.send(frontend.query(sql));
    return this.answer();
  }

  async answer(): Promise<string> {
    let text = '';
    for (const { type, body } of await this.peer.messagesTo('Z')) {
      if (type === 'E') text = errorFields(body)['M'] ?? '';
      if (type === 'D') text = body.subarray(6).toString();
    }
    return text;
  }
}

/** Sends a CancelRequest; resolves when that connection has been closed, with what was said on it: nothing. */
export async function cancelAt(to: number | string, key: Buffer): Promise<Buffer> {
  const peer = await connectPeer(to);
  await peer.send(frontend.cancelRequest(key.readInt32BE(0), key.subarray(4)));
  const said = await peer.end();
  await peer.close();
  return said;
}
