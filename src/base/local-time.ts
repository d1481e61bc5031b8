/** Locales that between them know the usual abbreviations; each knows those of its own part of the world. */
const LOCALES = ['en-US', 'en-GB', 'en-AU', 'en-IN', 'en-CA'] as const;

/**
 * Writes wall-clock times as C's `strftime` with `%Y-%m-%d %H:%M:%S %Z` does, in the process's time zone. Where
 * no abbreviation of the zone is known, its numeric offset stands there (`+09`), as in zones that have none.
 * Remembers the abbreviation per offset, because looking it up costs far more than all the rest.
 */
export class LocalTime {
  readonly #zoneNames = new Map<number, string>();
  /** The second that was written last: its number, its date and time, its zone. */
  #second = Number.NaN;
  #dateAndTime = '';
  #zone = '';

  /** `YYYY-MM-DD HH:MM:SS TZ`; `wallMs` is milliseconds since the Unix epoch. */
  seconds(wallMs: number): string {
    this.#begin(wallMs);
    return `${this.#dateAndTime} ${this.#zone}`;
  }

  /** `YYYY-MM-DD HH:MM:SS.mmm TZ`. */
  millis(wallMs: number): string {
    this.#begin(wallMs);
    return `${this.#dateAndTime}.${padded(Math.floor(wallMs) - 1000 * this.#second, 3)} ${this.#zone}`;
  }

  #begin(wallMs: number): void {
    const second = Math.floor(wallMs / 1000);
    if (second === this.#second) return;
    const date = new Date(wallMs);
    this.#second = second;
    this.#dateAndTime = dateAndTime(date);
    this.#zone = this.#zoneName(date);
  }

  #zoneName(date: Date): string {
    const offset = -date.getTimezoneOffset();
    let name = this.#zoneNames.get(offset);
    if (name === undefined) {
      name = abbreviation(date) ?? numericOffset(offset);
      this.#zoneNames.set(offset, name);
    }
    return name;
  }
}

function dateAndTime(date: Date): string {
  const day = `${padded(date.getFullYear(), 4)}-${padded(date.getMonth() + 1, 2)}-${padded(date.getDate(), 2)}`;
  const hours = padded(date.getHours(), 2);
  return `${day} ${hours}:${padded(date.getMinutes(), 2)}:${padded(date.getSeconds(), 2)}`;
}

function padded(value: number, width: number): string {
  return String(value).padStart(width, '0');
}

function abbreviation(date: Date): string | null {
  for (const locale of LOCALES) {
    const parts = new Intl.DateTimeFormat(locale, { timeZoneName: 'short' }).formatToParts(date);
    const name = parts.find((part) => part.type === 'timeZoneName')?.value ?? '';
    // A locale that doesn't know the zone's abbreviation writes `GMT+2`.
    if (/^[A-Z]{2,5}$/.test(name)) return name;
  }
  return null;
}

function numericOffset(minutes: number): string {
  const sign = minutes < 0 ? '-' : '+';
  const hours = padded(Math.floor(Math.abs(minutes) / 60), 2);
  const rest = Math.abs(minutes) % 60;
  return rest === 0 ? `${sign}${hours}` : `${sign}${hours}${padded(rest, 2)}`;
}
