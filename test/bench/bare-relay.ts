/**
 * A relay without pooling, login or a look at what it passes on: each client has a server connection of its own. What it
 * costs per transaction is what a program cannot get below that reads and writes by Node's streams.
 *
 * `node bare-relay.ts RELAY.JSON`: {@link RelaySetup}.
 */
import { readFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import type { RelaySetup } from './relay.ts';

const setup = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as RelaySetup;
const secureContext =
  setup.certFile === null || setup.keyFile === null
    ? null
    : createSecureContext({ cert: readFileSync(setup.certFile), key: readFileSync(setup.keyFile) });

function join(client: Socket, server: Socket): void {
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    from.on('data', (chunk: Buffer) => {
      if (!to.write(chunk)) from.pause();
    });
    to.on('drain', () => from.resume());
    from.on('error', () => {});
    from.on('close', () => to.destroy());
  }
}

createServer({ noDelay: true }, (client) => {
  const toServer = () => connect({ host: setup.host, port: setup.port, noDelay: true });
  if (secureContext === null) {
    join(client, toServer());
    return;
  }
  client.on('error', () => {});
  // The SSLRequest, which is all that a client sends before it has an answer.
  client.once('data', () => {
    client.pause();
    client.write('S');
    const secure = new TLSSocket(client, { isServer: true, secureContext });
    secure.on('error', () => client.destroy());
    secure.once('secure', () => join(secure, toServer()));
  });
}).listen(setup.listenPort, '127.0.0.1');
