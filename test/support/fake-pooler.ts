/**
 * A program in the pooler's place, for tests of what starts and stops it: relays connections to the server that
 * its configuration names, says that it is up, ends on SIGQUIT, and on SIGINT once no connection is open.
 * With `fail` as its first argument it ends at once.
 */
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';

if (process.argv[2] === 'fail') {
  console.error('FATAL no luck');
  process.exit(1);
}
const ini = readFileSync(process.argv.at(-1) ?? '', 'utf8');
const value = (pattern: RegExp): number => Number(pattern.exec(ini)?.[1]);
const target = { host: '127.0.0.1', port: value(/^\*.* port=(\d+)/m) };

let open = 0;
let stopping = false;
const endWhenIdle = (): void => {
  if (stopping && open === 0) process.exit(0);
};
const server = createServer((client) => {
  const upstream = connect(target);
  open++;
  client.pipe(upstream).pipe(client);
  for (const socket of [client, upstream]) socket.on('error', () => socket.destroy());
  client.on('close', () => {
    upstream.destroy();
    open--;
    endWhenIdle();
  });
});
process.on('SIGQUIT', () => process.exit(0));
process.on('SIGINT', () => {
  console.error('LOG got SIGINT');
  stopping = true;
  server.close();
  endWhenIdle();
});
server.listen(value(/^listen_port = (\d+)/m), '127.0.0.1', () =>
  console.error(`LOG process up: ${process.pid}`),
);
