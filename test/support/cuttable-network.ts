import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { waitFor } from './wait-for.ts';

/** The pooler's address, and that of its peers: nobody's, by RFC 5737. */
const NEAR = '192.0.2.1';
const FAR = '192.0.2.2';
const NEAR_MAC = '02:00:00:00:00:01';
const FAR_MAC = '02:00:00:00:00:02';
const POOLER_PORT = 6432;
const SERVER_PORT = 5432;

/** Timers that a TCP connection can have, as `/proc/net/tcp` numbers them. */
const TIMERS = ['none', 'retransmission', 'keepalive', 'time wait', 'zero window'] as const;

/** A connection as the kernel on one side sees it. */
export interface KernelConnection {
  readonly timer: (typeof TIMERS)[number] | undefined;
  /** Bytes that were sent and are not confirmed. */
  readonly unconfirmed: number;
}

/**
 * Two machines, as far as TCP can tell, with a cable between them that can be cut: network namespaces of Linux with a
 * pair of virtual interfaces. The near one is for a pooler; from the far one connections are carried to and from unix
 * sockets, which belong to no network. Nothing of this machine's own network is touched, and all of it goes with the
 * processes in it.
 */
export class CuttableNetwork implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'pgweir-net-'));
  readonly #inhabitants: Inhabitant[] = [];
  #enterNear: readonly string[] = [];
  #enterFar: readonly string[] = [];
  #farPid = 0;

  private constructor() {}

  /**
   * Sets it up. `server` is the unix socket of the PostgreSQL that is to be reached by {@link serverAddress}. Rejects with
   * what the system says where it doesn't let us.
   */
  static async open(server: string): Promise<CuttableNetwork> {
    const network = new CuttableNetwork();
    try {
      await network.#build(server);
      return network;
    } catch (error) {
      await network[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Why there can be none on this machine, or null. */
  static async whyNot(): Promise<string | null> {
    if (process.platform !== 'linux') return `no network namespaces on ${process.platform}`;
    try {
      const network = await CuttableNetwork.open('/nowhere');
      await network[Symbol.asyncDispose]();
      return null;
    } catch (error) {
      return (error instanceof Error ? error.message : String(error)).trim();
    }
  }

  /** For a pooler of its own process: where it listens, and how it gets there. */
  get pooler() {
    return { settings: { listen_addr: NEAR, listen_port: POOLER_PORT }, within: this.#enterNear };
  }

  /** Unix socket whose connections go to the pooler from the far side. */
  get clientPath(): string {
    return join(this.#folder, 'client');
  }

  /** Of the server on the far side, for a database's entry. */
  get serverAddress(): string {
    return `host=${FAR} port=${SERVER_PORT}`;
  }

  /** From now on nothing arrives, in neither direction, and no kernel is told so. */
  cut(): void {
    run(this.#enterFar, 'ip', 'link', 'set', 'far', 'down');
  }

  /** The pooler's end of the one connection that crosses the cable; null while there is none. */
  nearEnd(): KernelConnection | null {
    return connectionTo(FAR, this.#inhabitants[0]?.pid ?? 0);
  }

  /** The other end of that. */
  farEnd(): KernelConnection | null {
    return connectionTo(NEAR, this.#farPid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const inhabitant of this.#inhabitants.reverse()) await inhabitant.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #build(server: string): Promise<void> {
    // As root without more ado, else in a user namespace in which we are root.
    const isRoot = process.geteuid?.() === 0;
    const near = await this.#settle(['unshare', isRoot ? '-n' : '-Urn', 'sh', '-c', 'echo ready; exec cat']);
    const enter = (pid: number) => [
      ...['nsenter', '-t', String(pid)],
      ...(isRoot ? ['-n'] : ['-U', '--preserve-credentials', '-n']),
    ];
    this.#enterNear = enter(near.pid);
    const far = await this.#settle([
      ...[...this.#enterNear, 'unshare', '-n', 'sh', '-c', 'echo ready; read go; exec "$@"', 'sh'],
      ...[process.execPath, resolve(import.meta.dirname, 'cuttable-relay.ts')],
      ...[`${this.clientPath}=${NEAR}:${POOLER_PORT}`, `${FAR}:${SERVER_PORT}=${server}`],
    ]);
    this.#farPid = far.pid;
    this.#enterFar = enter(far.pid);
    run(
      this.#enterNear,
      ...['ip', 'link', 'add', 'near', 'address', NEAR_MAC, 'type', 'veth'],
      ...['peer', 'name', 'far', 'address', FAR_MAC, 'netns', String(far.pid)],
    );
    for (const [within, name, address, other, mac] of [
      [this.#enterNear, 'near', NEAR, FAR, FAR_MAC],
      [this.#enterFar, 'far', FAR, NEAR, NEAR_MAC],
    ] as const) {
      run(within, 'ip', 'address', 'add', `${address}/30`, 'dev', name);
      run(within, 'ip', 'link', 'set', name, 'up');
      // For good: a kernel that asks in vain who has an address learns that something is wrong.
      run(within, 'ip', 'neighbour', 'replace', other, 'lladdr', mac, 'dev', name, 'nud', 'permanent');
    }
    far.tell('go');
    await far.isReady(2);
  }

  async #settle(command: readonly string[]): Promise<Inhabitant> {
    const inhabitant = new Inhabitant(command);
    this.#inhabitants.push(inhabitant);
    await inhabitant.isReady(1);
    return inhabitant;
  }
}

/** A process that keeps a namespace, until it or we end. */
class Inhabitant {
  readonly #child: ChildProcessWithoutNullStreams;
  #said = '';
  #complaint = '';
  #hasEnded = false;

  constructor([command = '', ...args]: readonly string[]) {
    this.#child = spawn(command, args);
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint += text;
    });
    this.#child.stdin.on('error', () => {});
    this.#child.on('error', (error) => {
      this.#complaint += error.message;
      this.#hasEnded = true;
    });
    this.#child.on('close', () => {
      this.#hasEnded = true;
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  tell(line: string): void {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Settles when it has said so `times` times; rejects with its complaint when it ends instead. */
  async isReady(times: number): Promise<void> {
    await waitFor(() => this.#said === 'ready\n'.repeat(times) || this.#hasEnded, { what: 'a namespace' });
    if (this.#hasEnded) throw new Error(this.#complaint);
  }

  async end(): Promise<void> {
    this.#child.kill('SIGKILL');
    await waitFor(() => this.#hasEnded, { what: 'the end of a process in a namespace' });
  }
}

function run(within: readonly string[], ...command: readonly string[]): void {
  const [file = '', ...args] = [...within, ...command];
  // Not everybody's PATH has the folder of `ip`.
  const env = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` };
  execFileSync(file, args, { stdio: ['ignore', 'ignore', 'pipe'], env });
}

/** The connection to `ip` in the network namespace of a process. */
function connectionTo(ip: string, pid: number): KernelConnection | null {
  // An address is a number in the machine's byte order there.
  const bytes = Uint8Array.from(ip.split('.').map(Number));
  const hex = new Uint32Array(bytes.buffer)[0]?.toString(16).toUpperCase().padStart(8, '0');
  const rows = readFileSync(`/proc/${pid}/net/tcp`, 'latin1')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , remote]) => remote?.startsWith(`${hex}:`));
  if (rows.length > 1) throw new Error(`${rows.length} connections to ${ip}`);
  const [, , , , queues = '', timer = ''] = rows[0] ?? [];
  if (queues === '') return null;
  return {
    timer: TIMERS[Number.parseInt(timer, 16)],
    unconfirmed: Number.parseInt(queues, 16),
  };
}
