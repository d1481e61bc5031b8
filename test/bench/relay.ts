import path from 'node:path';
import type { Pooler } from './pooler.ts';

/** What `bare-relay.ts` is told: where it listens, where it connects to, and the files for TLS at the door. */
export interface RelaySetup {
  readonly listenPort: number;
  readonly host: string;
  readonly port: number;
  readonly certFile: string | null;
  readonly keyFile: string | null;
}

const name = 'relay.json';

/** No pooler: what reading and writing by Node's streams costs by itself. It takes part when it is asked for. */
export const relay: Pooler = {
  facts: "Node's streams, a server connection for each client, and nothing else",
  sharesServers: false,
  find: () => ({
    program: { path: process.execPath, version: `node ${process.version}` },
    args: [path.join(import.meta.dirname, 'bare-relay.ts')],
    runAs: {},
    env: {},
  }),
  configure: ({ door, listenPort, server, certFile, keyFile, folder }) => {
    const [cert, key] = door === 'tls' ? [certFile, keyFile] : [null, null];
    const setup: RelaySetup = {
      listenPort,
      host: server.host,
      port: server.port,
      certFile: cert,
      keyFile: key,
    };
    return { files: { [name]: `${JSON.stringify(setup)}\n` }, args: [path.join(folder, name)] };
  },
};
