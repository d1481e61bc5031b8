import type { PostgresAddress } from '../../src/cli/start/postgres.ts';
import { errorFields, frontend } from './peer-messages.ts';
import { connectPeer, type ScriptedPeer } from './scripted-peer.ts';

/** All that came up to and with one ReadyForQuery. */
export interface Answer {
  /** Types of its messages in order, such as `TDCZ`; ParameterStatus, notices and notifications are left out. */
  readonly types: string;
  /** Values of DataRows as text, null for NULL. */
  readonly rows: (string | null)[][];
  /** Of CommandComplete. */
  readonly tags: string[];
  /** Fields of ErrorResponses and NoticeResponses by letter. */
  readonly errors: Record<string, string>[];
  readonly notices: Record<string, string>[];
  /** Names and values of ParameterStatus. */
  readonly parameters: [string, string][];
  /** Channels and payloads of NotificationResponse. */
  readonly notifications: [string, string][];
  /** Data of CopyData. */
  readonly copied: string;
  readonly status: string;
}

/**
 * A client on the wire that says exactly what a test has it say, and takes answers apart. Between `send` and
 * `answer` anything may be done to its {@link ScriptedPeer}.
 */
export class WireClient implements AsyncDisposable {
  readonly peer: ScriptedPeer;
  /** What ParameterStatus said at login. */
  readonly parameters = new Map<string, string>();
  #pid = 0;
  #secret: Buffer = Buffer.alloc(0);
  readonly #to: number | string;

  private constructor(peer: ScriptedPeer, to: number | string) {
    this.peer = peer;
    this.#to = to;
  }

  /** Logs in without a password to a TCP port of 127.0.0.1 or a unix socket; gives the client when it is ready. */
  static async connect(
    to: number | string | PostgresAddress,
    parameters: Readonly<Record<string, string>>,
  ): Promise<WireClient> {
    const target = typeof to === 'object' ? to.port : to;
    const peer = await connectPeer(target);
    const client = new WireClient(peer, target);
    try {
      await client.#logIn(parameters);
    } catch (error) {
      await peer.close();
      throw error;
    }
    return client;
  }

  async #logIn(parameters: Readonly<Record<string, string>>): Promise<void> {
    await this.peer.send(frontend.startup(parameters));
    for (;;) {
      const { type, body } = await this.peer.message();
      if (type === 'E') throw new Error(`login refused: ${JSON.stringify(errorFields(body))}`);
      if (type === 'S') this.parameters.set(...pairOf(body));
      if (type === 'K') {
        this.#pid = body.readInt32BE(0);
        this.#secret = body.subarray(4);
      }
      if (type === 'Z') return;
    }
  }

  send(...messages: readonly Uint8Array[]): Promise<void> {
    return this.peer.send(...messages);
  }

  /** The next answer, to its ReadyForQuery. Rejects when the connection ends before. */
  async answer(): Promise<Answer> {
    return this.answerTo('Z');
  }

  /** The next messages up to the first of type `last`; `status` is empty unless that is ReadyForQuery. */
  async answerTo(last: string): Promise<Answer> {
    const rows: (string | null)[][] = [];
    const tags: string[] = [];
    const errors: Record<string, string>[] = [];
    const notices: Record<string, string>[] = [];
    const parameters: [string, string][] = [];
    const notifications: [string, string][] = [];
    let types = '';
    let copied = '';
    for (;;) {
      const { type, body } = await this.peer.message();
      if (!'SNA'.includes(type)) types += type;
      if (type === 'D') rows.push(rowOf(body));
      if (type === 'C') tags.push(body.toString('utf8', 0, body.length - 1));
      if (type === 'E') errors.push(errorFields(body));
      if (type === 'N') notices.push(errorFields(body));
      if (type === 'S') parameters.push(pairOf(body));
      if (type === 'A') notifications.push(pairOf(body.subarray(4)));
      if (type === 'd') copied += body.toString();
      if (type !== last) continue;
      const status = type === 'Z' ? body.toString('latin1') : '';
      return { types, rows, tags, errors, notices, parameters, notifications, copied, status };
    }
  }

  /** Sends messages of which the last one or a Query among them is answered by one ReadyForQuery. */
  async ask(...messages: readonly Uint8Array[]): Promise<Answer> {
    await this.send(...messages);
    return this.answer();
  }

  /** A simple query. */
  query(sql: string): Promise<Answer> {
    return this.ask(frontend.query(sql));
  }

  /** Rows of a simple query that must not fail. */
  async rows(sql: string): Promise<(string | null)[][]> {
    const { rows, errors } = await this.query(sql);
    if (errors[0] !== undefined) throw new Error(`${sql}: ${JSON.stringify(errors[0])}`);
    return rows;
  }

  /** The one value of a simple query that must not fail. */
  async value(sql: string): Promise<string | null> {
    return (await this.rows(sql))[0]?.[0] ?? null;
  }

  /** Sends a CancelRequest with this client's key on a connection of its own and waits until that is closed. */
  async cancel(): Promise<void> {
    const peer = await connectPeer(this.#to);
    await peer.send(frontend.cancelRequest(this.#pid, this.#secret));
    await peer.end();
    await peer.close();
  }

  /** Is gone without a word. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.peer.close();
  }

  /** Says Terminate and waits until the other side has closed. */
  async end(): Promise<void> {
    await this.peer.send(frontend.terminate());
    await this.peer.end();
    await this.peer.close();
  }
}

/** Parse, Bind and Execute of an unnamed statement with text parameters; no Sync. */
export function unnamed(sql: string, ...values: readonly string[]): Buffer {
  return Buffer.concat([frontend.parse('', sql), frontend.bindTexts('', '', values), frontend.execute('')]);
}

function pairOf(body: Buffer): [string, string] {
  const [name = '', value = ''] = body.toString().split('\0');
  return [name, value];
}

function rowOf(body: Buffer): (string | null)[] {
  const values: (string | null)[] = [];
  let pos = 2;
  for (let i = body.readInt16BE(0); i > 0; i--) {
    const length = body.readInt32BE(pos);
    pos += 4;
    if (length < 0) {
      values.push(null);
      continue;
    }
    values.push(body.toString('utf8', pos, pos + length));
    pos += length;
  }
  return values;
}
