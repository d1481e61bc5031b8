/**
 * The kinds of value that a setting can have: how each is read from the file and printed by `SHOW CONFIG`.
 * The settings themselves stand in `settings-table.ts`.
 */

interface RowBase<D extends string | null> {
  /** What holds when the file says nothing, in the file's spelling; null: the setting has no default. */
  readonly default: D;
  /** False: read at process start only. */
  readonly reloadable: boolean;
  readonly doc: string;
  /** `not yet`: accepted, checked and shown, but nothing follows from it so far. */
  readonly effect: 'yes' | 'not yet';
  /** The one value that a `not yet` setting may have without a warning: the one that says what happens today. */
  readonly inert: string | null;
}

/** C's int in base 10, 0x or leading-zero octal. */
export interface IntRow<D extends string | null> extends RowBase<D> {
  readonly type: 'int';
  readonly min: number;
  readonly max: number;
}

/** An int of which only zero or not zero counts; `on`, `true` and `yes` are no ints. */
export interface BoolRow extends RowBase<string> {
  readonly type: 'bool';
}

/** Seconds, a fraction allowed, no unit. */
export interface TimeRow extends RowBase<string> {
  readonly type: 'time';
}

export interface TextRow<D extends string | null> extends RowBase<D> {
  readonly type: 'text';
}

/** A keyword in any case. `refused` are keywords of PgBouncer's that it would be unsafe to accept without effect. */
export interface EnumRow<V extends string> extends RowBase<V> {
  readonly type: 'enum';
  readonly values: readonly V[];
  readonly refused: readonly string[];
}

/** `items`: separated by commas. `names`: separated by commas or blanks. */
export interface ListRow extends RowBase<string> {
  readonly type: 'items' | 'names';
}

export type SettingRow =
  | IntRow<string | null>
  | BoolRow
  | TimeRow
  | TextRow<string | null>
  | EnumRow<string>
  | ListRow;

/** The TypeScript type of a row's value. Units: times are seconds. */
export type SettingValue<R> =
  R extends IntRow<infer D>
    ? number | (D extends null ? null : never)
    : R extends BoolRow
      ? boolean
      : R extends TimeRow
        ? number
        : R extends EnumRow<infer V>
          ? V
          : R extends ListRow
            ? readonly string[]
            : R extends TextRow<infer D>
              ? string | (D extends null ? null : never)
              : never;

/** Options that all row makers share: `restart` for settings read at start only, `later` for `inert`. */
export interface RowOptions {
  readonly restart?: boolean;
  readonly later?: string;
}

const INT_MAX = 2 ** 31 - 1;

function base<D extends string | null>(defaultText: D, doc: string, options: RowOptions): RowBase<D> {
  return {
    default: defaultText,
    doc,
    reloadable: options.restart !== true,
    effect: options.later === undefined ? 'yes' : 'not yet',
    inert: options.later ?? null,
  };
}

/** Makes an integer row; 0 to 2³¹-1 unless the options say otherwise. */
export function int<const D extends string | null>(
  defaultText: D,
  doc: string,
  options: RowOptions & { min?: number; max?: number } = {},
): IntRow<D> {
  return {
    ...base(defaultText, doc, options),
    type: 'int',
    min: options.min ?? 0,
    max: options.max ?? INT_MAX,
  };
}

export function bool(defaultText: '0' | '1', doc: string, options: RowOptions = {}): BoolRow {
  return { ...base<string>(defaultText, doc, options), type: 'bool' };
}

export function time(defaultText: string, doc: string, options: RowOptions = {}): TimeRow {
  return { ...base(defaultText, doc, options), type: 'time' };
}

export function text<const D extends string | null>(
  defaultText: D,
  doc: string,
  options: RowOptions = {},
): TextRow<D> {
  return { ...base(defaultText, doc, options), type: 'text' };
}

export function oneOf<const V extends string>(
  values: readonly V[],
  defaultText: NoInfer<V>,
  doc: string,
  options: RowOptions & { refused?: readonly string[] } = {},
): EnumRow<V> {
  return { ...base<V>(defaultText, doc, options), type: 'enum', values, refused: options.refused ?? [] };
}

export function items(defaultText: string, doc: string, options: RowOptions = {}): ListRow {
  return { ...base(defaultText, doc, options), type: 'items' };
}

export function names(defaultText: string, doc: string, options: RowOptions = {}): ListRow {
  return { ...base(defaultText, doc, options), type: 'names' };
}
