import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import {
  codeOf,
  type Mode,
  type Row,
  type Running,
  type Sample,
  type Session,
  type Target,
  testDriver,
  type Users,
} from './kit.ts';
import { type Lane, Program, type Request } from './program.ts';
import { type DebianDriver, probe } from './programs.ts';

/** What a program's driver can do. */
export interface ProgramDriver {
  readonly driver: DebianDriver;
  /** Whether its statements are kept under names. */
  readonly named: boolean;
  /** Whether it can cancel what it runs; its error then, if that is not SQLSTATE 57014. */
  readonly cancels: boolean | string;
}

/** Number of the next pool, for programs whose driver has one for several lanes. */
let pools = 0;

/** A program's connections, at most so many; each gets a lane when it is needed. */
export class ProgramUsers implements Users {
  readonly cancel?: (text: string, running: () => Promise<unknown>) => Promise<unknown>;
  readonly #program: Program;
  readonly #opening: Request;
  readonly #lanes: Lane[] = [];
  readonly #idle: Lane[] = [];

  constructor(program: Program, target: Target, connections: number, cancels: boolean) {
    this.#program = program;
    this.#opening = { op: 'open', target, pool: pools++, connections };
    if (!cancels) return;
    this.cancel = (text, running) =>
      this.withLane(async (lane) => {
        const cancelled = lane.ask({ op: 'cancel', text });
        cancelled.catch(() => {});
        await running();
        lane.cancel();
        return cancelled;
      });
  }

  /** Lends a lane with its connection out. */
  async withLane<T>(work: (lane: Lane) => Promise<T>): Promise<T> {
    let lane = this.#idle.pop();
    if (lane === undefined) {
      lane = this.#program.lane();
      this.#lanes.push(lane);
      await lane.ask(this.#opening);
    }
    try {
      return await work(lane);
    } finally {
      this.#idle.push(lane);
    }
  }

  /** Has a lane do what this driver alone can. */
  ask(request: Request): Promise<unknown> {
    return this.withLane((lane) => lane.ask(request));
  }

  sql(text: string, values?: readonly unknown[]): Promise<Row[]> {
    return this.withLane((lane) => sessionOn(lane).sql(text, values));
  }

  twice(n: number): Promise<Row[]> {
    return this.withLane((lane) => sessionOn(lane).twice(n));
  }

  transaction<T>(work: (tx: Session & Pick<Lane, 'ask'>) => Promise<T>): Promise<T> {
    return this.withLane(async (lane) => {
      await lane.ask({ op: 'begin' });
      let result: T;
      try {
        result = await work({ ...sessionOn(lane), ask: (request) => lane.ask(request) });
      } catch (error) {
        await lane.ask({ op: 'rollback' });
        throw error;
      }
      await lane.ask({ op: 'commit' });
      return result;
    });
  }

  async store(sample: Sample): Promise<Sample> {
    const row = (await this.ask({ op: 'store', sample })) as Omit<Sample, 'at'> & { at: string };
    return { ...row, at: new Date(row.at) };
  }

  async close(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.close()));
  }
}

function sessionOn(lane: Lane): Session {
  return {
    sql: (text, values = []) => lane.ask({ op: 'sql', text, values }) as Promise<Row[]>,
    twice: (n) => lane.ask({ op: 'twice', n }) as Promise<Row[]>,
  };
}

/** Tests of a driver from Debian's packages, on PostgreSQL itself and in both modes; none where it is not installed. */
export function testProgram(
  { driver, named, cancels }: ProgramDriver,
  more: (running: () => Running<ProgramUsers>, mode: Mode) => void,
): void {
  const found = probe(driver);
  if (found.version === null) {
    const reason = `is not tested: ${found.missing}`;
    process.stderr.write(`${driver.name} ${reason}\n`);
    describe.each(['direct', 'session', 'transaction'])('%s mode', () => {
      test(reason, (context) => context.skip());
    });
    return;
  }

  let program: Program;
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'pgweir-driver-'));
    const [file, ...args] = driver.build?.(folder) ?? [];
    if (file !== undefined) {
      const { status, stderr } = spawnSync(file, args, { encoding: 'utf8' });
      if (status !== 0) throw new Error(`${driver.name} cannot be built:\n${stderr}`);
    }
    program = new Program(driver.command(folder), driver.processes);
  });
  afterAll(async () => {
    await program?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  testDriver(
    {
      name: driver.name,
      named,
      cancels,
      modes: ['direct', 'session', 'transaction'],
      open: async (target, connections) => {
        const users = new ProgramUsers(program, target, connections, cancels !== false);
        // A first connection may ask for things that the next ones then know.
        await users.withLane(async () => {});
        return users;
      },
      stateOf: codeOf,
    },
    more,
  );
}
