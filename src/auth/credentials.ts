import type { ScramVerifier } from './secret.ts';

/**
 * What lets us log in by SCRAM in a client's place without its password (pass-through). Plain data: it can cross
 * threads. Shape: keys and salt are base64. Works only where PostgreSQL stores the very same secret.
 */
export interface ScramPassThroughKeys {
  readonly clientKey: string;
  readonly serverKey: string;
  readonly salt: string;
  readonly iterations: number;
}

/**
 * What logins on servers are made with; plain data. `secretText` is the stored secret as `auth_file`, the
 * connect string or `auth_query` gives it, null or empty when there is none. Never log either field.
 */
export interface ServerCredentials {
  readonly secretText: string | null;
  readonly scramKeys: ScramPassThroughKeys | null;
}

/** What a client's login leaves for the pool; `scramKeys` only after SCRAM against a stored SCRAM secret. */
export type LoginCredentials = ServerCredentials;

/** The keys that a successful SCRAM login revealed, in the form that pools keep. */
export function passThroughKeys(clientKey: Buffer, verifier: ScramVerifier): ScramPassThroughKeys {
  return {
    clientKey: clientKey.toString('base64'),
    serverKey: verifier.serverKey.toString('base64'),
    salt: verifier.salt.toString('base64'),
    iterations: verifier.iterations,
  };
}
