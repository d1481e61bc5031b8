import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { guess } from '../support/guess.ts';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';

const LOOKER = 'lo_looker';

const md5Of = (user: string) => `md5${createHash('md5').update(`right${user}`).digest('hex')}`;

describe.each(['plain', 'md5', 'scram-sha-256'])('by %s, whoever guesses sees the same', (auth_type) => {
  test.each(['plain', 'md5', 'scram'])('where most secrets are %s', async (kind) => {
    const names = [1, 2, 3].map((i) => `lo_${auth_type}_${kind}_${i}`);
    const userlist: Record<string, string> = {};
    for (const name of names) {
      const stored = await createRole(sharedPostgres(), { name, auth: 'scram', password: 'right' });
      // 8192 is not what new secrets are made with.
      const verifier = (stored ?? '').replace('$4096:', '$8192:');
      userlist[name] = kind === 'plain' ? 'right' : kind === 'md5' ? md5Of(name) : verifier;
    }
    await using pooler = await startPooler({ settings: { auth_type }, userlist });
    const [known = ''] = names;
    const seen = await guess(pooler.port, known);
    expect(seen.length).toBeGreaterThan(2);
    expect(await guess(pooler.port, 'lo_nobody')).toEqual(seen);
    // Nor does an unknown database make a difference.
    expect(await guess(pooler.port, 'lo_nobody', 'lo_nowhere')).toEqual(seen);
    expect(await guess(pooler.port, known, 'lo_nowhere')).toEqual(seen);
  });

  test('where they are looked up by auth_query', async () => {
    const user = `lo_query_${auth_type}`;
    await createRole(sharedPostgres(), {
      name: `${LOOKER}_${auth_type}`,
      auth: 'trust',
      options: 'SUPERUSER',
    });
    await createRole(sharedPostgres(), { name: user, auth: 'scram', password: 'right' });
    await createRole(sharedPostgres(), { name: `${user}_none`, auth: 'scram' });
    await using pooler = await startPooler({
      settings: { auth_type, auth_user: `${LOOKER}_${auth_type}` },
      databases: { postgres: '' },
    });
    // The first ones to be found set the fashion: the file holds a plain one.
    for (let i = 0; i < 3; i++) {
      await guess(pooler.port, user);
      await pooler.reload();
    }
    const seen = await guess(pooler.port, user);
    for (const name of ['lo_nobody', `${user}_none`, 'lo_nobody']) {
      expect(await guess(pooler.port, name), name).toEqual(seen);
    }
  });
});
