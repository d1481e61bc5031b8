import type { Logger } from '../base/log.ts';
import type { Cell, Column } from '../wire/result.ts';
import { ADMIN_DATABASE, isAllowed, type Role } from './access.ts';
import type { ControlReply, ControlRequest, ShutdownMode } from './control.ts';
import { helpText } from './help.ts';
import { driverSettings, findShow } from './show.ts';
import type { ShowContext } from './table.ts';

/** What a command comes to; the console turns it into messages. */
export type Outcome =
  | { readonly kind: 'done'; readonly tag: string; readonly notice: string | null }
  | { readonly kind: 'rows'; readonly columns: readonly Column[]; readonly rows: Cell[][] }
  | { readonly kind: 'help'; readonly text: string }
  | {
      readonly kind: 'failed';
      readonly message: string;
      readonly sqlstate?: string;
      readonly detail?: string;
    }
  /** The text means nothing: unknown command, unknown SHOW, an argument where none may stand. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'shutdown' };

/** What commands work with. */
export interface CommandContext extends ShowContext {
  readonly role: Role;
  readonly log: Logger;
  /** Aborts when the console's client is gone. */
  readonly signal: AbortSignal;
}

interface Command {
  readonly needs: Role;
  run(context: CommandContext, arg: string | null): Promise<Outcome>;
}

const unknown: Outcome = Object.freeze({ kind: 'unknown' });
const accessNeeded: Outcome = Object.freeze({ kind: 'failed', message: 'admin access needed' });

function failed(message: string): Outcome {
  return { kind: 'failed', message };
}

/** Notes the command in the log, has it carried out, and answers with its tag. */
async function carryOut(
  context: CommandContext,
  issued: string,
  request: ControlRequest,
  tag: string,
): Promise<Outcome> {
  context.log.log('LOG', `${issued} command issued`);
  const reply: ControlReply = await context.control.request(request, context.signal);
  if (reply.ok) return { kind: 'done', tag, notice: reply.notice ?? null };
  const { error, ok: _, ...rest } = reply;
  return { kind: 'failed', message: error, ...rest };
}

/** A command that takes no argument. */
function plain(tag: string, request: ControlRequest): Command {
  return {
    needs: 'admin',
    run: async (context, arg) => (arg === null ? carryOut(context, tag, request, tag) : unknown),
  };
}

/**
 * A command on one database, or on all of them when none is named. `refusal` begins the text that protects the
 * console's own database.
 */
function onDatabase(
  tag: string,
  refusal: string,
  request: (database: string | null) => ControlRequest,
): Command {
  return {
    needs: 'admin',
    async run(context, arg) {
      if (arg === ADMIN_DATABASE) return failed(`${refusal} admin db: ${arg}`);
      const issued = arg === null ? tag : `${tag} '${arg}'`;
      return carryOut(context, issued, request(arg), tag);
    },
  };
}

/** The console's own database cannot be paused, so it never is. */
const resumeCommand: Command = {
  needs: 'admin',
  async run(context, arg) {
    if (arg === ADMIN_DATABASE) return failed(`database ${arg} is not paused`);
    const issued = arg === null ? 'RESUME' : `RESUME '${arg}'`;
    return carryOut(context, issued, { kind: 'resume', database: arg }, 'RESUME');
  },
};

/** A command that must name its database. */
function onNamedDatabase(
  tag: string,
  refusal: string,
  request: (database: string) => ControlRequest,
): Command {
  return {
    needs: 'admin',
    async run(context, arg) {
      if (arg === null) return failed('a database is required');
      if (arg === ADMIN_DATABASE) return failed(`${refusal} admin db: ${arg}`);
      return carryOut(context, `${tag} '${arg}'`, request(arg), tag);
    },
  };
}

const showCommand: Command = {
  needs: 'stats',
  async run(context, arg) {
    const name = arg?.toLowerCase() ?? '';
    if (name === 'help') return { kind: 'help', text: helpText };
    const entry = findShow(name);
    if (entry === null) return unknown;
    if (!isAllowed(context.role, entry.needs)) return accessNeeded;
    return { kind: 'rows', columns: entry.show.columns, rows: await entry.show.rows(context) };
  },
};

const killClientCommand: Command = {
  needs: 'admin',
  async run(context, arg) {
    const id = Number(arg);
    if (arg === null || !/^[0-9]+$/.test(arg) || !Number.isSafeInteger(id)) {
      return failed('invalid client pointer supplied');
    }
    return carryOut(context, `KILL_CLIENT '${arg}'`, { kind: 'killClient', id }, 'KILL_CLIENT');
  },
};

const GRACEFUL_MODES: ReadonlyMap<string, ShutdownMode> = new Map([
  ['wait_for_servers', 'wait_for_servers'],
  ['wait_for_clients', 'wait_for_clients'],
]);

const shutdownCommand: Command = {
  needs: 'admin',
  async run(context, arg) {
    if (arg === null) {
      const outcome = await carryOut(
        context,
        'SHUTDOWN',
        { kind: 'shutdown', mode: 'immediate' },
        'SHUTDOWN',
      );
      return outcome.kind === 'done' ? { kind: 'shutdown' } : outcome;
    }
    const mode = GRACEFUL_MODES.get(arg.toLowerCase());
    if (mode === undefined) return unknown;
    return carryOut(context, `SHUTDOWN ${arg.toUpperCase()}`, { kind: 'shutdown', mode }, 'SHUTDOWN');
  },
};

/**
 * Every command by its word, with the least role that may run it. What isn't here doesn't exist; SET, which has
 * a grammar of its own, is {@link runSet}.
 */
export const commands: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['show', showCommand],
  // Some clients can only send SELECT.
  ['select', showCommand],
  ['reload', plain('RELOAD', { kind: 'reload' })],
  ['pause', onDatabase('PAUSE', 'cannot pause', (database) => ({ kind: 'pause', database }))],
  ['suspend', plain('SUSPEND', { kind: 'suspend' })],
  ['resume', resumeCommand],
  ['disable', onNamedDatabase('DISABLE', 'cannot disable', (database) => ({ kind: 'disable', database }))],
  ['enable', onNamedDatabase('ENABLE', 'cannot enable', (database) => ({ kind: 'enable', database }))],
  ['reconnect', onDatabase('RECONNECT', 'cannot reconnect', (database) => ({ kind: 'reconnect', database }))],
  ['kill', onDatabase('KILL', 'cannot kill', (database) => ({ kind: 'kill', database }))],
  ['kill_client', killClientCommand],
  ['wait_close', onDatabase('WAIT_CLOSE', 'cannot wait in', (database) => ({ kind: 'waitClose', database }))],
  ['shutdown', shutdownCommand],
]);

/** Runs the command `word` (lower case) if it exists and the role may. */
export async function runCommand(
  context: CommandContext,
  word: string,
  arg: string | null,
): Promise<Outcome> {
  const command = commands.get(word);
  if (command === undefined) return unknown;
  if (!isAllowed(context.role, command.needs)) return accessNeeded;
  return command.run(context, arg);
}

/** Runs `SET key = value`: settings of drivers are ignored with a notice, others need an administrator. */
export async function runSet(context: CommandContext, key: string, value: string): Promise<Outcome> {
  if (driverSettings.has(key.toLowerCase())) return { kind: 'done', tag: 'SET', notice: 'SET ignored' };
  if (!isAllowed(context.role, 'admin')) return accessNeeded;
  // The log names the setting only: values may hold secrets.
  return carryOut(context, `SET ${key}`, { kind: 'set', key, value }, `SET ${key}=${value}`);
}
