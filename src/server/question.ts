import { randomBytes } from 'node:crypto';
import type { ServerCredentials } from '../auth/credentials.ts';
import { SaltedPasswordCache } from '../auth/derived-keys.ts';
import { Pbkdf2Queue } from '../auth/pbkdf2-queue.ts';
import { Conn } from '../net/conn.ts';
import { Encryption } from './encryption.ts';
import { ServerLogin } from './login.ts';
import { OwnQuery } from './own-query.ts';
import { connectFailure, connectOptions, isUnixHost, type ServerAddress } from './target.ts';
import type { TlsInfo } from '../tls/info.ts';
import type { ServerTls } from '../tls/server-side.ts';
import { parseDataRow } from '../wire/data-row.ts';
import { errorText } from '../wire/error-fields.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import { query, terminate } from '../wire/frontend.ts';
import { startupMessage } from '../wire/startup-message.ts';

/** As whom to ask. */
export interface Asker {
  readonly user: string;
  readonly database: string;
  readonly credentials: ServerCredentials;
  readonly applicationName: string;
}

/** Rows of text, null for NULL. */
export type Rows = readonly (readonly (string | null)[])[];

/**
 * Logs in on a server (or on a pooler's console) at an address or at the path of a unix socket, over TLS where `tls` says
 * so, runs `sql`, leaves. Rejects with why it could not, after `timeoutMs` at the latest; no text holds a secret.
 */
export function askServer(
  address: ServerAddress | { readonly path: string },
  { user, database, credentials, applicationName }: Asker,
  sql: string,
  { tls, timeoutMs }: { readonly tls: ServerTls | null; readonly timeoutMs: number },
): Promise<Rows> {
  return new Promise((resolve, reject) => {
    const rows: (string | null)[][] = [];
    let isOver = false;
    let channel: TlsInfo | null = null;
    let encryption: Encryption | null = null;
    const end = (failure: string | null): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      conn.endAndDestroy(failure === null ? terminate : undefined);
      if (failure === null) resolve(rows);
      else reject(new Error(failure));
    };
    const timer = setTimeout(() => end(`no answer within ${timeoutMs / 1000} s`), timeoutMs);
    const asked = (): void => {
      const events = { parameterStatus: () => {}, sessionTag: () => {} };
      const done = (error: Parameters<typeof errorText>[0] | null) =>
        end(error === null ? null : errorText(error));
      reader = new OwnQuery(
        null,
        events,
        (result) => done(result.error),
        (body) => void rows.push(parseDataRow(body)),
      );
      conn.write(query(sql));
    };
    const login = new ServerLogin(
      {
        send: (bytes) => void conn.write(bytes),
        pause: () => conn.pause(),
        resume: () => conn.resume(),
        loggedIn: asked,
        failed: ({ message }) => end(message),
        note: () => {},
      },
      {
        user,
        credentials,
        channel: () => channel,
        randomBytes,
        saltedPasswords: new SaltedPasswordCache(new Pbkdf2Queue()),
      },
      0,
    );
    const introduce = (info: TlsInfo | null): void => {
      channel = info;
      reader = login;
      conn.write(
        startupMessage(0, [
          ['user', user],
          ['database', database],
          ['application_name', applicationName],
        ]),
      );
    };
    let reader: ByteReader = login;
    const conn: Conn = Conn.connect(
      'path' in address ? { ...address, allowHalfOpen: true } : connectOptions(address),
      {
        onBytes: (chunk, stop) => {
          for (let pos = 0; pos < stop && !isOver; ) pos = reader.feed(chunk, pos, stop);
        },
        onEnd: () => end('the server has closed the connection'),
        onDrain: () => {},
        onClosed: (error) => {
          let why = '';
          const note = (text: string): void => {
            why = text;
          };
          const reason = encryption?.failure(error, note) ?? connectFailure(error, note);
          end(why === '' ? reason : why);
        },
        onFault: (error) => end(error instanceof Error ? error.message : String(error)),
      },
      () => {
        if (tls === null || 'path' in address || isUnixHost(address.host)) {
          introduce(null);
          return;
        }
        encryption = new Encryption({ conn, ready: introduce, refused: end }, tls, address.host);
        reader = encryption;
        encryption.begin();
      },
    );
  });
}
