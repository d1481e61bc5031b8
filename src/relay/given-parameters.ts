import type { ExtraParameters } from './extra-parameters.ts';
import type { TrackedParameters, TrackedValues } from './tracked-parameters.ts';

/** The parameters that a client gave at its start: to these RESET goes back. */
export class GivenParameters {
  readonly #tracked: TrackedParameters;
  /** Of the tracked ones, in PostgreSQL's spelling once that is known. */
  readonly parameters: TrackedValues;
  readonly #extras: ExtraParameters;

  /** `parameters` is copied. */
  constructor(tracked: TrackedParameters, parameters: TrackedValues, extras: ExtraParameters) {
    this.#tracked = tracked;
    this.parameters = [...parameters];
    this.#extras = extras;
  }

  /** Null: it was not given. */
  get(name: string): string | null {
    return this.parameters[this.#tracked.indexOf(name)] ?? this.#extras.get(name) ?? null;
  }

  /** In lower case. */
  names(): string[] {
    const tracked = this.#tracked.names.filter((_name, i) => this.parameters[i] !== null);
    return [...tracked.map((name) => name.toLowerCase()), ...this.#extras.keys()];
  }
}
