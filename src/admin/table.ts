import assert from 'node:assert';
import type { LocalTime } from '../base/local-time.ts';
import { type Cell, type Column, TypeOid } from '../wire/result.ts';
import type { Control } from './control.ts';

/** What a SHOW may need besides snapshots. */
export interface ShowContext {
  readonly control: Control;
  readonly localTime: LocalTime;
  /** The text of SHOW VERSION. */
  readonly version: string;
}

/** One SHOW: its columns and where its rows come from; rows have a cell per column. */
export interface Show {
  readonly columns: readonly Column[];
  rows(context: ShowContext): Promise<Cell[][]>;
}

/** A column together with how its cell is made from one record. */
export interface Field<R> extends Column {
  cell(record: R, context: ShowContext): Cell;
}

/** A table whose rows are the records that `fetch` gives, in that order. */
export function show<R>(
  fields: readonly Field<R>[],
  fetch: (context: ShowContext) => Promise<readonly R[]>,
): Show {
  return {
    columns: fields.map(({ name, type }) => ({ name, type })),
    async rows(context) {
      const records = await fetch(context);
      return records.map((record) => fields.map((field) => field.cell(record, context)));
    },
  };
}

/** A text column. */
export function text<R>(name: string, cell: (record: R, context: ShowContext) => string | null): Field<R> {
  return { name, type: TypeOid.text, cell };
}

/** An int4 column; truth is written as 1 and 0. */
export function int<R>(name: string, cell: (record: R) => number | boolean | null): Field<R> {
  return { name, type: TypeOid.int4, cell: (record) => integer(cell(record)) };
}

/** More seconds than this are not told apart: it is what an int4 column can show. */
export const FOR_EVER = 2 ** 31 - 1;

/** An int4 column of seconds. */
export function seconds<R>(name: string, cell: (record: R) => number): Field<R> {
  return int(name, (record) => Math.min(cell(record), FOR_EVER));
}

/** An int8 column. */
export function bigint<R>(name: string, cell: (record: R) => number | null): Field<R> {
  return { name, type: TypeOid.int8, cell: (record) => integer(cell(record)) };
}

/** A numeric column; its values are whole. */
export function numeric<R>(name: string, cell: (record: R) => number): Field<R> {
  return { name, type: TypeOid.numeric, cell: (record) => integer(cell(record)) };
}

/** A bytea column. */
export function bytea<R>(name: string, cell: (record: R) => string | null): Field<R> {
  return { name, type: TypeOid.bytea, cell };
}

/** Cuts fractions and never writes an exponent, so that a client can always parse it as an integer. */
function integer(value: number | boolean | null): Cell {
  if (value === null) return null;
  const number = Math.trunc(Number(value));
  assert(Number.isFinite(number), 'a snapshot holds a number that is none');
  return BigInt(number).toString();
}

/** Orders as `strcmp` does on ASCII, whatever the locale. */
export function byName(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
