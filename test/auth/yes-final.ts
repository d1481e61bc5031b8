/** A client that says `y`: it could bind a channel but believes that the server cannot. */
import { pbkdf2Sync } from 'node:crypto';
import { authMessageOf, clientProof, scramKeysOf } from '../../src/auth/scram.ts';
import { parseServerFirst } from '../../src/auth/scram-messages.ts';

/** client-final-message for password `pencil`, with `binding` as its `c=`. */
export function yesFinal(clientFirstBare: string, challenge: Buffer, binding: string): string {
  const text = challenge.subarray(9).toString('latin1');
  const first = parseServerFirst(text);
  if (first === null) throw new Error('no challenge');
  const { clientKey } = scramKeysOf(pbkdf2Sync('pencil', first.salt, first.iterations, 32, 'sha256'));
  const withoutProof = `c=${binding},r=${first.nonce}`;
  const proof = clientProof(clientKey, authMessageOf(clientFirstBare, text, withoutProof));
  return `${withoutProof},p=${proof.toString('base64')}`;
}
