/**
 * Carries connections from one place to another, `<from>=<to>` per argument: a unix socket's path or `host:port` each.
 * Says `ready` once it listens, and ends with its standard input.
 */
import { connect, createServer, type Socket } from 'node:net';

/** For `listen` and `connect`. */
function place(text: string): { path: string } | { host: string; port: number } {
  if (text.startsWith('/')) return { path: text };
  const [host = '', port] = text.split(':');
  return { host, port: Number(port) };
}

function join(a: Socket, b: Socket): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.pipe(to);
    from.on('error', () => to.destroy());
  }
}

const pairs = process.argv.slice(2).map((pair) => pair.split('='));
await Promise.all(
  pairs.map(([from = '', to = '']) => {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (accepted) =>
      join(accepted, connect({ ...place(to), allowHalfOpen: true, noDelay: true })),
    );
    return new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(place(from), resolve);
    });
  }),
);
console.log('ready');
process.stdin.resume().on('end', () => process.exit(0));
