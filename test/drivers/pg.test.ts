import { testDriver } from './kit.ts';
import { PgUsers } from './pg-kit.ts';

testDriver({
  name: 'pg',
  named: true,
  open: async (target, connections) => new PgUsers(target, connections),
});
