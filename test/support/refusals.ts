import pg from 'pg';
import { within } from './wait-for.ts';

/** An ErrorResponse as a client reads it. */
export interface Refusal {
  readonly severity: string | undefined;
  readonly code: string | undefined;
  readonly message: string;
}

/** With its DETAIL. */
export interface DetailedRefusal extends Refusal {
  readonly detail: string | undefined;
}

/** What the pooler's own errors look like, except where the contract names another SQLSTATE. */
export function fatal(message: string, code = '08P01'): Refusal {
  return { severity: 'FATAL', code, message };
}

/** The ErrorResponse that `work` ends with. Throws when it succeeds, or fails without one. */
export async function refusalOf(work: Promise<unknown>): Promise<Refusal> {
  return refusalFrom(await errorOf(work));
}

/** As {@link refusalOf}, with its DETAIL. */
export async function detailedRefusalOf(work: Promise<unknown>): Promise<DetailedRefusal> {
  const error = await errorOf(work);
  const { detail } = error as pg.DatabaseError;
  return { ...refusalFrom(error), detail };
}

/** The ErrorResponse that comes to a client that asks for nothing, from now on. */
export function endOf(client: pg.Client): Promise<Refusal> {
  const error = new Promise<unknown>((resolve) => client.once('error', resolve));
  return within(error, 'an error for an idle client').then(refusalFrom);
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await within(work, 'an answer');
  } catch (error) {
    return error;
  }
  throw new Error('it was not refused');
}

function refusalFrom(error: unknown): Refusal {
  if (!(error instanceof pg.DatabaseError)) throw error;
  return { severity: error.severity, code: error.code, message: error.message };
}
