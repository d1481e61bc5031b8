/** Longest text kept of one field, in bytes: the rest of it is dropped. */
const MAX_FIELD_BYTES = 16 * 1024;
/** PostgreSQL defines 18 field types; a peer that sends far more than that is not worth the time. */
const MAX_FIELDS = 64;

/**
 * What an ErrorResponse or NoticeResponse from a server said, as far as it said it: servers leave out any field
 * (some send no SQLSTATE), so every one is optional here. Source: manual, `protocol-error-fields`.
 */
export interface ErrorFields {
  /** Severity, possibly translated (S). */
  readonly severity?: string;
  /** Severity, never translated (V). */
  readonly severityNonlocalized?: string;
  readonly sqlstate?: string;
  readonly message?: string;
  readonly detail?: string;
  readonly hint?: string;
  /** Of PostgreSQL's source, by which one error is told from others whatever the language. */
  readonly routine?: string;
}

/** `ERROR: what went wrong`, as it stands in a log line; for peers that leave fields out, too. */
export function errorText({ severity, message }: ErrorFields): string {
  return `${severity ?? 'ERROR'}: ${message ?? '(no message)'}`;
}

/** Nothing comes behind it: it ends the connection. */
export function isEnding({ severity, severityNonlocalized }: ErrorFields): boolean {
  const text = severityNonlocalized ?? severity;
  return text === 'FATAL' || text === 'PANIC';
}

const FIELD_NAMES: Readonly<Record<number, keyof ErrorFields>> = {
  0x53: 'severity', // S
  0x56: 'severityNonlocalized', // V
  0x43: 'sqlstate', // C
  0x4d: 'message', // M
  0x44: 'detail', // D
  0x48: 'hint', // H
  0x52: 'routine', // R
};

/**
 * Reads the body `chunk[start, end)` of an ErrorResponse or NoticeResponse, to log it or to decide; the client
 * gets the bytes as they came. Never throws: a body cut anywhere gives the fields up to there, the last one as
 * far as it goes. The first of doubled fields counts, unknown ones are skipped, overlong texts are cut.
 */
export function parseErrorFields(chunk: Buffer, start = 0, end: number = chunk.length): ErrorFields {
  const body = chunk.subarray(start, end);
  const fields: { -readonly [K in keyof ErrorFields]: string } = {};
  let pos = 0;
  for (let seen = 0; seen < MAX_FIELDS && pos < body.length; seen++) {
    const type = body[pos] as number;
    if (type === 0) break;
    const nul = body.indexOf(0, pos + 1);
    const valueEnd = nul < 0 ? body.length : nul;
    const name = FIELD_NAMES[type];
    if (name !== undefined && fields[name] === undefined) fields[name] = decode(body, pos + 1, valueEnd);
    pos = valueEnd + 1;
  }
  return fields;
}

/** UTF-8 text `body[start, end)`, cut between two characters when it is too long. */
function decode(body: Buffer, start: number, end: number): string {
  let cut = end;
  if (end - start > MAX_FIELD_BYTES) {
    cut = start + MAX_FIELD_BYTES;
    // Back to a character's first byte: 10xxxxxx goes on with the one before; four is the longest character.
    for (let back = 0; back < 3 && ((body[cut] as number) & 0xc0) === 0x80; back++) cut--;
  }
  return body.toString('utf8', start, cut);
}
