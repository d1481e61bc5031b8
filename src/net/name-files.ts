import { readFileSync } from 'node:fs';
import type { UserIds } from './native-names.ts';

/** The group's id by `/etc/group`, for where the group database cannot be asked; null when it does not stand there. */
export function groupIdFromFile(name: string): number | null {
  const id = fieldsOf('/etc/group', name)?.[2] ?? '';
  return isId(id) ? Number(id) : null;
}

/** The user's ids by `/etc/passwd`, likewise. */
export function userIdsFromFile(name: string): UserIds | null {
  const [, , uid = '', gid = ''] = fieldsOf('/etc/passwd', name) ?? [];
  return isId(uid) && isId(gid) ? { uid: Number(uid), gid: Number(gid) } : null;
}

/** Of the line that begins with `name`; null when there is none. */
function fieldsOf(file: string, name: string): string[] | null {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return null;
  }
  return (
    text
      .split('\n')
      .map((line) => line.split(':'))
      .find(([first]) => first === name) ?? null
  );
}

function isId(text: string): boolean {
  return /^\d+$/.test(text);
}
