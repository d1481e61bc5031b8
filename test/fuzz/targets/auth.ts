import { randomBytes } from 'node:crypto';
import { decodeBase64 } from '../../../src/auth/base64.ts';
import { createClientAuth } from '../../../src/auth/client-auth.ts';
import { SaltedPasswordCache } from '../../../src/auth/derived-keys.ts';
import { Pbkdf2Queue } from '../../../src/auth/pbkdf2-queue.ts';
import { LdapError, ldapMessageLength, readLdapResponse } from '../../../src/auth/ldap-messages.ts';
import { saslprep } from '../../../src/auth/saslprep.ts';
import {
  parseClientFinal,
  parseClientFirst,
  parseServerFinal,
  parseServerFirst,
} from '../../../src/auth/scram-messages.ts';
import { classifySecret } from '../../../src/auth/secret.ts';
import { ServerLogin } from '../../../src/server/login.ts';
import { ProtocolViolation } from '../../../src/wire/pg-error.ts';
import { saslInitialResponse } from '../../../src/wire/authentication.ts';
import { clientArgs, PENCIL_MD5, PENCIL_SCRAM, typed } from '../../auth/peers.ts';
import { backend, message } from '../../support/peer-messages.ts';
import { allowing, must, type Target } from '../target.ts';

const PROOF = `p=${Buffer.alloc(32).toString('base64')}`;

const scram: Target = {
  name: 'scram',
  seeds: [
    'n,,n=,r=rOprNGfwEbeRWgbNEkqO',
    'y,,n=user,r=abc,x=1',
    'p=tls-server-end-point,,n=,r=abc',
    `c=biws,r=rOprNGfw,${PROOF}`,
    'r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
    `v=${Buffer.alloc(32).toString('base64')}`,
    'e=other-error',
  ],
  words: [
    'n,,',
    'y,,',
    'p=',
    'c=biws',
    'c=eSws',
    ',r=',
    ',s=',
    ',i=',
    'i=2147483648',
    'm=',
    'a=x',
    '==',
    '=2C',
    PROOF,
  ],
  maxBytes: 5000,
  run: (bytes) => {
    const text = bytes.toString('latin1');
    const first = parseClientFirst(text);
    if (first !== null)
      must(text.startsWith(first.gs2Header) && text.endsWith(first.bare), 'its parts are the text');
    const final = parseClientFinal(text);
    if (final !== null)
      must(final.proof.length === 32 && text.startsWith(final.withoutProof), 'a proof, last of all');
    const server = parseServerFirst(text);
    if (server !== null)
      must(server.iterations >= 1 && server.salt.length >= 1 && server.salt.length <= 1024, 'bounded work');
    parseServerFinal(text);
    const decoded = decodeBase64(text, 64);
    if (decoded !== null)
      must(decoded.length <= 64 && decoded.toString('base64') === text, 'base64, one way only');
  },
};

/** Answers of an LDAP server to a bind and to a search, both message 3. */
const ldap: Target = {
  name: 'ldap',
  seeds: [
    '300c02010361070a010004000400',
    '300c02010365070a010004000400',
    '300c02010378070a010004000400',
    '301002010364 0b0405636e3d613a3000'.replace(' ', ''),
    '3084000000100201037384000000070405612f2f623a',
    '30800201036100',
  ].map((hex) => Buffer.from(hex, 'hex')),
  words: ['\x30\x84', '\x02\x01\x03', '\x61', '\x64', '\x65', '\x73', '\x0a\x01\0', '\x04\0', '\xff'],
  maxBytes: 300,
  run: (bytes) => {
    const length = ldapMessageLength(bytes);
    must(length >= 0 && length <= bytes.length, 'a message is part of what has come');
    for (const operation of ['60', '63', '77']) {
      const request = Buffer.from(`3005020103${operation}00`, 'hex');
      const response = allowing([LdapError], () => readLdapResponse(bytes.subarray(0, length), request));
      if (response?.kind === 'last') must(Number.isInteger(response.code), 'a code');
      if (response?.kind === 'entry') must(response.name.length <= length, 'a name of the message');
    }
  },
};

const secrets: Target = {
  name: 'secrets',
  seeds: [PENCIL_SCRAM, PENCIL_MD5, 'plain', 'SCRAM-SHA-256$1:a$b:c'],
  words: ['SCRAM-SHA-256$', 'md5', '$', ':', '==', '4096', '99999999999'],
  maxBytes: 4096,
  run: (bytes) => {
    const secret = classifySecret(bytes.toString('utf8'));
    if (secret.kind === 'scram')
      must(secret.storedKey.length === 32 && secret.iterations >= 1, 'a verifier that is one');
    saslprep(bytes);
  },
};

/** A client's messages in a login, each behind its length (one byte): whatever they are, none of them gets in. */
const clientLogin: Target = {
  name: 'client-login',
  seeds: [
    Buffer.concat([Buffer.of(60), saslInitialResponse('SCRAM-SHA-256', 'n,,n=,r=abcdefgh').subarray(5)]),
    Buffer.concat([
      Buffer.of(82),
      saslInitialResponse('SCRAM-SHA-256-PLUS', 'p=tls-server-end-point,,n=,r=abcdefgh').subarray(5),
    ]),
    Buffer.from('\x07wrong!\0'),
    Buffer.from('\x24md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0'),
  ],
  words: [
    'SCRAM-SHA-256\0',
    'SCRAM-SHA-256-PLUS\0',
    'n,,n=,r=',
    '\0',
    `c=biws,r=,${PROOF}`,
    'pencil\0',
    'md5',
  ],
  maxBytes: 600,
  run: async (bytes) => {
    for (const [method, secretText, channel] of [
      ['scram-sha-256', PENCIL_SCRAM, null],
      ['scram-sha-256', PENCIL_SCRAM, { endPointHash: Buffer.alloc(32, 1) }],
      ['scram-sha-256', null, null],
      ['md5', PENCIL_MD5, null],
      ['plain', 'another secret', null],
    ] as const) {
      const exchange = createClientAuth(clientArgs({ method, secretText, channel }));
      let step = await exchange.start();
      for (let pos = 0; pos < bytes.length && step.kind === 'send'; ) {
        const end = pos + 1 + (bytes[pos] as number);
        const body = Buffer.from(bytes.subarray(pos + 1, end));
        step = (await allowingAsync(() => exchange.password(body))) ?? { kind: 'send', bytes: body };
        pos = end;
      }
      must(step.kind !== 'ok', `nobody gets in by ${method}`);
      exchange.abandon();
    }
  },
};

async function allowingAsync<T>(work: () => T | Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ProtocolViolation) return null;
    throw error;
  }
}

const WELCOME = [
  message('R', 10, 'SCRAM-SHA-256', Buffer.of(0)),
  message('R', 5, Buffer.of(1, 2, 3, 4)),
  message('R', 3),
  message('R', 0),
  backend.parameterStatus('server_version', '18.0'),
  backend.backendKeyData(4242, Buffer.from('SECR')),
  message('v', 0, 0),
  backend.errorResponse({ S: 'FATAL', C: '28P01', M: 'no' }),
  backend.readyForQuery(),
];

/** A server's messages in our login there. */
const serverLogin: Target = {
  name: 'server-login',
  seeds: [
    Buffer.concat(WELCOME.slice(3)),
    ...WELCOME,
    Buffer.concat([...WELCOME.slice(0, 1), message('R', 11, 'r=a,s=YWJj,i=1')]),
  ],
  words: [
    'R\0\0\0\x08\0\0\0\0',
    'SCRAM-SHA-256\0',
    'SCRAM-SHA-256-PLUS\0',
    'r=,s=YWJj,i=4096',
    'K\0\0\0\x0c',
    'Z\0\0\0\x05I',
    'v\0\0\0',
  ],
  maxBytes: 2048,
  run: (bytes) => {
    let results = 0;
    const login = new ServerLogin(
      {
        send: () => {},
        pause: () => {},
        resume: () => {},
        loggedIn: () => void results++,
        failed: () => void results++,
        note: () => {},
      },
      {
        user: 't',
        credentials: typed('pencil'),
        channel: () => null,
        randomBytes,
        saltedPasswords: new SaltedPasswordCache(new Pbkdf2Queue()),
      },
      2,
    );
    allowing([ProtocolViolation], () => {
      for (let pos = 0; pos < bytes.length && results === 0; ) pos = login.feed(bytes, pos, bytes.length);
    });
    must(results <= 1, 'it ends once');
    login.abandon();
  },
};

export const authTargets: readonly Target[] = [scram, ldap, secrets, clientLogin, serverLogin];
