/** Glue that lets the two halves of a login talk to each other without sockets. */
import { randomBytes } from 'node:crypto';
import type { ClientAuthArgs, ClientAuthExchange, ClientAuthStep } from '../../src/auth/client-auth.ts';
import { createClientAuth } from '../../src/auth/client-auth.ts';
import type { ServerCredentials } from '../../src/auth/credentials.ts';
import { SaltedPasswordCache, ScramVerifierCache } from '../../src/auth/derived-keys.ts';
import { Pbkdf2Queue } from '../../src/auth/pbkdf2-queue.ts';
import type { ServerAuthExchange, ServerAuthRequest, ServerAuthStep } from '../../src/auth/server-auth.ts';
import { createServerAuth } from '../../src/auth/server-auth.ts';
import type { TlsChannel } from '../../src/auth/scram.ts';
import { AuthCode } from '../../src/wire/codes.ts';
import { Reader } from '../../src/wire/reader.ts';

export const mockSecret = Buffer.alloc(32, 7);

/** Secrets that PostgreSQL 18 stored for role `t` with password `pencil`. */
export const PENCIL_SCRAM =
  'SCRAM-SHA-256$4096:ybcA72hE59q5avutIge1HQ==$+YcpjJFnQNjI3o1i2qliH53VnjQZDjZaMNC4BjszXjA=:4IjnoUDO4NyVNrvEY1IO4guy1mpmeBbsdJR0mWacxvQ=';
export const PENCIL_MD5 = 'md531dcc6c3366b993fb4b6c619e63776f2';

export function clientArgs(over: Partial<ClientAuthArgs>): ClientAuthArgs {
  const pbkdf2 = over.pbkdf2 ?? new Pbkdf2Queue();
  return {
    method: 'scram-sha-256',
    user: 't',
    secretText: 'pencil',
    channel: null,
    randomBytes,
    mockSecret,
    scramIterations: 64,
    mock: () => ({ kind: 'plain', iterations: 64, saltBytes: 16, derives: true }),
    verifiers: new ScramVerifierCache(pbkdf2),
    pbkdf2,
    ...over,
  };
}

export function serverLogin(
  credentials: ServerCredentials,
  user = 't',
  channel: TlsChannel | null = null,
): ServerAuthExchange {
  const saltedPasswords = new SaltedPasswordCache(new Pbkdf2Queue());
  return createServerAuth({ user, credentials, channel: () => channel, randomBytes, saltedPasswords });
}

export function typed(password: string | null): ServerCredentials {
  return { secretText: password, scramKeys: null };
}

/** Takes one Authentication message apart as the server connection would. */
export function decodeRequest(bytes: Buffer): ServerAuthRequest {
  const reader = new Reader(bytes);
  if (reader.byte() !== 0x52) throw new Error('not an Authentication message');
  if (reader.int32() !== bytes.length - 1) throw new Error('wrong length');
  const code = reader.int32();
  switch (code) {
    case AuthCode.Ok:
      return { kind: 'ok' };
    case AuthCode.CleartextPassword:
      return { kind: 'cleartext' };
    case AuthCode.MD5Password:
      return { kind: 'md5', salt: reader.bytes(4) };
    case AuthCode.SASL: {
      const mechanisms: string[] = [];
      for (let name = reader.cstring(); name !== ''; name = reader.cstring()) mechanisms.push(name);
      return { kind: 'sasl', mechanisms };
    }
    case AuthCode.SASLContinue:
      return { kind: 'saslContinue', data: reader.bytes(reader.remaining).toString('latin1') };
    case AuthCode.SASLFinal:
      return { kind: 'saslFinal', data: reader.bytes(reader.remaining).toString('latin1') };
    default:
      return { kind: 'other', code };
  }
}

/** The body of a `p` message. */
export function bodyOf(message: Buffer): Buffer {
  if (message[0] !== 0x70 || message.readInt32BE(1) !== message.length - 1)
    throw new Error('not a p message');
  return message.subarray(5);
}

export interface LoginResult {
  readonly client: ClientAuthStep;
  /** The last step of the side that logged in, or null when it was refused before it could say more. */
  readonly server: ServerAuthStep | null;
  /** Direction and size of every message, AuthenticationOk apart. */
  readonly trace: string[];
}

/**
 * Plays a login: our client-facing half in the server's role, our server-facing half in the client's. Bodies are
 * overwritten after use, so that a half which kept borrowed bytes shows.
 */
export async function play(
  accepting: ClientAuthExchange,
  loggingIn: ServerAuthExchange,
): Promise<LoginResult> {
  const trace: string[] = [];
  let step = await accepting.start();
  for (let round = 0; round < 8; round++) {
    if (step.kind === 'fail') return { client: step, server: null, trace };
    if (step.kind === 'ok') {
      let last: ServerAuthStep = { kind: 'wait' };
      if (step.bytes !== null) {
        trace.push(`> ${step.bytes.length}`);
        last = await loggingIn.request(decodeRequest(step.bytes));
      }
      if (last.kind === 'wait') last = await loggingIn.request({ kind: 'ok' });
      return { client: step, server: last, trace };
    }
    trace.push(`> ${step.bytes.length}`);
    const answer = await loggingIn.request(decodeRequest(step.bytes));
    if (answer.kind !== 'send') return { client: step, server: answer, trace };
    trace.push(`< ${answer.bytes.length}`);
    const body = Buffer.from(bodyOf(answer.bytes));
    const pending = accepting.password(body);
    body.fill(0xff);
    step = await pending;
  }
  throw new Error('the login does not end');
}

/** A login with `password` typed at the other end. */
export function logIn(over: Partial<ClientAuthArgs>, password: string | null): Promise<LoginResult> {
  return play(createClientAuth(clientArgs(over)), serverLogin(typed(password), over.user));
}
