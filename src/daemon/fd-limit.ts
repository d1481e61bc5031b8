import { readFileSync } from 'node:fs';

/** Limits on open files of this process; Infinity for unlimited. */
export interface FdLimit {
  readonly soft: number;
  readonly hard: number;
}

/**
 * The limit on open files, for the line at start and for warnings near it. Node has raised the soft limit to the
 * hard one by the time we run. Null where the system has no `/proc`.
 */
export function readFdLimit(path = '/proc/self/limits'): FdLimit | null {
  let text: string;
  try {
    text = readFileSync(path, 'latin1');
  } catch {
    return null;
  }
  const match = /^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)/m.exec(text);
  const [, soft, hard] = match ?? [];
  if (soft === undefined || hard === undefined) return null;
  return { soft: limitValue(soft), hard: limitValue(hard) };
}

function limitValue(text: string): number {
  return text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text);
}
