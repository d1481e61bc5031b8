import type { Logger } from '../base/log.ts';
import type { Cell, Column } from '../wire/result.ts';
import { ADMIN_DATABASE, type Role } from './access.ts';
import type { ControlReply, ControlRequest, ShutdownMode } from './control.ts';
import { showTables } from './show.ts';
import type { ShowContext } from './table.ts';

/** What a command comes to; the console turns it into messages. */
export type Outcome =
  | { readonly kind: 'done'; readonly tag: string; readonly notice: string | null }
  | {
      readonly kind: 'rows';
      readonly columns: readonly Column[];
      readonly rows: readonly (readonly Cell[])[];
      readonly tag: string;
    }
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
  /** Whom the client has logged in as. */
  readonly user: string;
  readonly log: Logger;
  /** Aborts when the console's client is gone. */
  readonly signal: AbortSignal;
}

interface Command {
  /** Its lines of `SHOW HELP`. */
  readonly usage: readonly string[];
  run(context: CommandContext, arg: string | null): Promise<Outcome>;
}

/** The answer to what is no command. */
export const unknown: Outcome = Object.freeze({ kind: 'unknown' });
/** The answer to a command that its sender may not run. */
export const accessNeeded: Outcome = Object.freeze({ kind: 'failed', message: 'admin access needed' });

/** A failure with PgBouncer's SQLSTATE, or another. */
export function failed(message: string, sqlstate?: string): Outcome {
  return { kind: 'failed', message, ...(sqlstate !== undefined && { sqlstate }) };
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
    usage: [tag],
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
    usage: [`${tag} [<db>]`],
    async run(context, arg) {
      if (arg === ADMIN_DATABASE) return failed(`${refusal} admin db: ${arg}`);
      const issued = arg === null ? tag : `${tag} '${arg}'`;
      return carryOut(context, issued, request(arg), tag);
    },
  };
}

/** The console's own database cannot be paused, so it never is. */
const resumeCommand: Command = {
  usage: ['RESUME [<db>]'],
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
    usage: [`${tag} <db>`],
    async run(context, arg) {
      if (arg === null) return failed('a database is required');
      if (arg === ADMIN_DATABASE) return failed(`${refusal} admin db: ${arg}`);
      return carryOut(context, `${tag} '${arg}'`, request(arg), tag);
    },
  };
}

const killClientCommand: Command = {
  usage: ['KILL_CLIENT <client_id>'],
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
  usage: ['SHUTDOWN', 'SHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS'],
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
 * Every command by its word, in the order in which `SHOW HELP` lists them; who may run it is said by the table of
 * `access.ts`, and asked by `plan.ts`. SHOW and SET have a grammar of their own.
 */
export const commands: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['reload', plain('RELOAD', { kind: 'reload' })],
  ['pause', onDatabase('PAUSE', 'cannot pause', (database) => ({ kind: 'pause', database }))],
  ['resume', resumeCommand],
  ['suspend', plain('SUSPEND', { kind: 'suspend' })],
  ['disable', onNamedDatabase('DISABLE', 'cannot disable', (database) => ({ kind: 'disable', database }))],
  ['enable', onNamedDatabase('ENABLE', 'cannot enable', (database) => ({ kind: 'enable', database }))],
  ['reconnect', onDatabase('RECONNECT', 'cannot reconnect', (database) => ({ kind: 'reconnect', database }))],
  ['kill', onDatabase('KILL', 'cannot kill', (database) => ({ kind: 'kill', database }))],
  ['kill_client', killClientCommand],
  ['wait_close', onDatabase('WAIT_CLOSE', 'cannot wait in', (database) => ({ kind: 'waitClose', database }))],
  ['shutdown', shutdownCommand],
]);

/** Runs `SET key = value` on a setting of ours. */
export function runSet(context: CommandContext, key: string, value: string): Promise<Outcome> {
  // The log names the setting only: values may hold secrets.
  return carryOut(context, `SET ${key}`, { kind: 'set', key, value }, `SET ${key}=${value}`);
}

const NAMES_PER_LINE = 6;

/** The detail text of `SHOW HELP`: every command on a line of its own, behind a tab. */
export const helpText: string = makeHelpText();

function makeHelpText(): string {
  const names = ['HELP', ...[...showTables.keys()].map((name) => name.toUpperCase())];
  const lines: string[] = [];
  for (let i = 0; i < names.length; i += NAMES_PER_LINE) {
    lines.push(`SHOW ${names.slice(i, i + NAMES_PER_LINE).join('|')}`);
  }
  lines.push('SET key = value', ...[...commands.values()].flatMap(({ usage }) => usage));
  return lines.map((line) => `\n\t${line}`).join('');
}
