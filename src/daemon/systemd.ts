/**
 * What a service manager is told and asks for: readiness, reloads, its watchdog (`sd_notify`), and the sockets that it
 * has opened for us (`sd_listen_fds`). Source: systemd's pages of these names. Nothing of it does anything where the
 * process was not started by one.
 */
import type { Logger } from '../base/log.ts';
import type { PassedSocket } from '../net/listener.ts';
import type { DatagramSender, OpenDatagram } from '../net/native-datagram.ts';

type Environment = Record<string, string | undefined>;

/** The first descriptor that is passed. */
const LISTEN_FDS_START = 3;

/**
 * The sockets that were passed to us, and takes the variables away, which would mislead a process that we started.
 * Those meant for another process are not ours.
 */
export function takePassedSockets(env: Environment, pid: number): PassedSocket[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID']) delete env[name];
  if (LISTEN_PID !== String(pid) || !/^[1-9]\d{0,3}$/.test(LISTEN_FDS ?? '')) return [];
  const names = (LISTEN_FDNAMES ?? '').split(':');
  return Array.from({ length: Number(LISTEN_FDS) }, (_, index) => ({
    fd: LISTEN_FDS_START + index,
    name: names[index] ?? '',
  }));
}

/** Tells the service manager how we are. A message that does not get through is a warning, once. */
export class ServiceManager {
  readonly #sender: DatagramSender | null;
  readonly #log: Logger;
  #watchdog: NodeJS.Timeout | null = null;
  /** Resolves when all is well with the process; never rejects. */
  #beat: () => Promise<unknown> = async () => {};
  #isBeating = false;
  #hasWarned = false;
  /** The state that counts as up; a reload may be over only after a shutdown has begun. */
  #isStopping = false;

  private constructor(sender: DatagramSender | null, log: Logger) {
    this.#sender = sender;
    this.#log = log;
  }

  /** By what the environment says, which is taken away: what we start has nothing to tell. */
  static take(env: Environment, pid: number, open: OpenDatagram, log: Logger): ServiceManager {
    const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = env;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
    if (NOTIFY_SOCKET === undefined || NOTIFY_SOCKET === '') return new ServiceManager(null, log);
    const isPath = /^[/@]./.test(NOTIFY_SOCKET);
    const sender = isPath ? open(NOTIFY_SOCKET) : null;
    const manager = new ServiceManager(sender, log);
    if (sender === null) {
      const why = isPath ? 'not possible on this system' : 'not a unix socket';
      manager.#warn(why);
    }
    const isOurs = WATCHDOG_PID === undefined || WATCHDOG_PID === '' || WATCHDOG_PID === String(pid);
    if (isOurs && /^[1-9]\d{0,14}$/.test(WATCHDOG_USEC ?? '')) manager.#watch(Number(WATCHDOG_USEC));
    return manager;
  }

  /** The process is up. `mainPid` when it takes the place of another one. */
  ready(mainPid: number | null = null): void {
    this.#send(mainPid === null ? 'READY=1' : `MAINPID=${mainPid}\nREADY=1`);
  }

  /** A reload begins; {@link reloaded} must follow, however it went. */
  reloading(): void {
    // What Node's clock counts from is CLOCK_MONOTONIC's own beginning.
    this.#send(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  reloaded(): void {
    if (!this.#isStopping) this.#send('READY=1');
  }

  /** One line about how it goes. */
  status(line: string): void {
    this.#send(`STATUS=${line.replaceAll('\n', ' ')}`);
  }

  /** The process is about to end, by and by. */
  stopping(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#send('STOPPING=1');
  }

  /** From here on the watchdog is fed when `beat` resolves, which is asked again when it has; it must not reject. */
  watchOver(beat: () => Promise<unknown>): void {
    this.#beat = beat;
  }

  close(): void {
    if (this.#watchdog !== null) clearInterval(this.#watchdog);
    this.#watchdog = null;
    this.#sender?.close();
  }

  /** A timer of the event loop: what hangs the loop stops the pings. */
  #watch(usec: number): void {
    this.#watchdog = setInterval(() => this.#ping(), Math.max(1, Math.floor(usec / 2000)));
    this.#watchdog.unref();
    this.#send('WATCHDOG=1');
  }

  /** As soon as the beat is there: one that is late by less than half of the watchdog's time is in time. */
  #ping(): void {
    if (this.#isBeating) return;
    this.#isBeating = true;
    void this.#beat().then(() => {
      this.#isBeating = false;
      if (this.#watchdog !== null) this.#send('WATCHDOG=1');
    });
  }

  #send(text: string): void {
    const code = this.#sender?.send(Buffer.from(text)) ?? 0;
    if (code !== 0) this.#warn(`error ${code}`);
  }

  #warn(why: string): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#log.log('WARNING', `cannot tell the service manager how we are (${why})`);
  }
}
