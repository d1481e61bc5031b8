import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';

/** A secret as PostgreSQL stores it in `rolpassword`, for an ASCII password. Source: RFC 5803 and its catalog pg_authid. */
export function scramSecret(password: string, iterations: number, salt = randomBytes(16)): string {
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const key = (name: string): Buffer => createHmac('sha256', salted).update(name).digest();
  const storedKey = createHash('sha256').update(key('Client Key')).digest('base64');
  const serverKey = key('Server Key').toString('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}
