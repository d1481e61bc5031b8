import { createHash } from 'node:crypto';
import { type MockProfile, USUAL_SALT_BYTES } from './mock-profile.ts';
import type { ScramVerifier } from './secret.ts';

/** What a made-up secret is made from. */
export interface MockSource {
  readonly user: string;
  /** Random bytes that stay the same for the process's life. */
  readonly mockSecret: Buffer;
  readonly mock: (isScram: boolean) => MockProfile;
}

/** A salt that looks drawn at random and is the same each time for a name. Source: contract, §2.7. */
export function mockSalt({ user, mockSecret }: MockSource, bytes: number = USUAL_SALT_BYTES): Buffer {
  return createHash('sha256').update(user).update(mockSecret).digest().subarray(0, bytes);
}

/** A verifier that no password meets, like those of other users otherwise. */
export function mockVerifier(source: MockSource): ScramVerifier {
  const { iterations, saltBytes } = source.mock(true);
  const noKey = createHash('sha256').update(source.mockSecret).update(source.user).digest();
  return { iterations, salt: mockSalt(source, saltBytes), storedKey: noKey, serverKey: noKey };
}
