/** A SCRAM client that knows password `pencil` and signs whatever it is told to say. */
import { pbkdf2Sync } from 'node:crypto';
import { authMessageOf, clientProof, scramKeysOf } from '../../src/auth/scram.ts';
import { parseServerFirst } from '../../src/auth/scram-messages.ts';

/** The client-final-message with `binding` as its `c=` and `nonceTail` added to the nonce. */
export function craftFinal(
  clientFirstBare: string,
  challenge: Buffer,
  binding: string,
  nonceTail: string,
): string {
  const text = challenge.subarray(9).toString('latin1');
  const first = parseServerFirst(text);
  if (first === null) throw new Error('no challenge');
  const { clientKey } = scramKeysOf(pbkdf2Sync('pencil', first.salt, first.iterations, 32, 'sha256'));
  const withoutProof = `c=${binding},r=${first.nonce}${nonceTail}`;
  const proof = clientProof(clientKey, authMessageOf(clientFirstBare, text, withoutProof));
  return `${withoutProof},p=${proof.toString('base64')}`;
}
