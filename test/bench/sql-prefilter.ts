import { mayConcernStatements } from '../../src/prepared/sql-prefilter.ts';
import { readStatements } from '../../src/prepared/sql-statements.ts';

/**
 * Prints what it costs, in ns of CPU, to ask whether a simple query may concern prepared statements, and to read it:
 * `node test/bench/sql-prefilter.ts`. Of many short runs the fastest counts: others share the machine.
 */
const TEXTS = [
  'BEGIN',
  'SELECT 1',
  'SELECT abalance FROM pgbench_accounts WHERE aid = 12345;',
  'UPDATE pgbench_accounts SET abalance = abalance + 100 WHERE aid = 4711;',
  'SELECT u.id, u.name, u.email, o.id AS order_id, o.created_at, o.total FROM users u JOIN orders o' +
    " ON o.user_id = u.id WHERE u.status = 'active' AND o.created_at > now() - interval '1 day'" +
    ' ORDER BY o.created_at DESC LIMIT 20',
  "SELECT * FROM jobs WHERE action = 'execute'",
  'EXECUTE get_account(12345)',
];
const ROUNDS = 30;

function fastestNs(calls: number, work: () => unknown): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const started = process.cpuUsage();
    for (let i = 0; i < calls; i++) work();
    const { user, system } = process.cpuUsage(started);
    best = Math.min(best, ((user + system) * 1000) / calls);
  }
  return best;
}

console.log('bytes  ask ns  read ns  may concern');
for (const text of TEXTS) {
  // As in a Query message: behind its header, in front of its zero.
  const bytes = Buffer.concat([Buffer.alloc(5), Buffer.from(text), Buffer.alloc(1)]);
  const end = bytes.length - 1;
  const ask = () => mayConcernStatements(bytes, 5, end);
  const read = () =>
    readStatements(bytes, 5, end, { standardConformingStrings: true, clientEncoding: 'UTF8' });
  const figures = [
    fastestNs(200_000, ask).toFixed(1).padStart(7),
    fastestNs(5000, read).toFixed(0).padStart(8),
  ];
  console.log(
    `${String(text.length).padStart(5)} ${figures.join(' ')}  ${String(ask())}  ${text.slice(0, 60)}`,
  );
}
