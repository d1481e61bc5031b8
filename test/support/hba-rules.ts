import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LocalPooler } from './pooler.ts';

/** Has a pooler go by these rules and maps from here on: texts of `auth_hba_file` and `auth_ident_file`. */
export async function goByRules(pooler: LocalPooler, hba: string, ident = ''): Promise<void> {
  const [hbaFile, identFile] = ['hba', 'ident'].map((name) => join(pooler.folder, name)) as [string, string];
  writeFileSync(hbaFile, hba);
  writeFileSync(identFile, ident);
  await pooler.reload({ settings: { auth_type: 'hba', auth_hba_file: hbaFile, auth_ident_file: identFile } });
}
