import { FrontendType as F, HEADER_BYTES } from '../wire/codes.ts';
import { nameEnd, nameOf } from './message-names.ts';
import { PORTAL, STATEMENT } from './statement.ts';

/** What has to be so of a statement that was prepared anew for a stretch of requests to be right for it, too. */
export interface StretchNeeds {
  /** Its parameters have the types that they had. */
  readonly sameParameters: boolean;
  /** It has so many columns; -1: any number. */
  readonly columns: number;
}

/** Holds for requests that hang on nothing the client knows of the statement. */
const NOTHING: StretchNeeds = { sameParameters: false, columns: -1 };

/**
 * What the requests in `bytes[0, end)`, of which the first names the client's statement `name`, need of that statement
 * when it is not what the client has seen of it so far; `parsedHere`: the client has seen nothing, for it prepares it in
 * the same stretch. Null: they cannot be right, or it cannot be told. `incomplete`: neither Sync nor Flush is
 * there, so that the client waits for nothing yet.
 *
 * A client has encoded parameters by their types, and asks for formats column by column. It decodes rows by what it
 * is told ahead of them in the stretch; where it is told nothing, by an earlier
 * description, which a stale plan's new rows are not.
 * Source: manual, `protocol-message-formats`.
 */
export function stretchNeeds(
  bytes: Buffer,
  end: number,
  name: string,
  parsedHere: boolean,
): StretchNeeds | null | 'incomplete' {
  let needs = NOTHING;
  let isDescribed = false;
  let isAwaited = false;
  /** Bound in it and not described yet; true: the client may wait, by a Flush, ahead of the description. */
  const portals = new Map<string, boolean>();
  for (let pos = 0; ; ) {
    const body = pos + HEADER_BYTES;
    if (body > end) break;
    const type = bytes[pos] as number;
    const length = bytes.readInt32BE(pos + 1);
    if (length < 4) return null;
    pos = body + length - 4;
    if (pos > end) break;
    if (type === F.Sync) return portals.size === 0 ? needs : null;
    const kind = bytes[body];
    switch (type) {
      case F.Flush:
        isAwaited = true;
        for (const portal of portals.keys()) portals.set(portal, true);
        break;
      case F.Close:
        break;
      case F.Describe:
        if (kind === STATEMENT && nameIn(bytes, body + 1, pos) === name) isDescribed = true;
        if (kind === PORTAL) portals.delete(nameIn(bytes, body + 1, pos));
        break;
      case F.Execute:
        if (portals.has(nameIn(bytes, body, pos))) return null;
        break;
      case F.Bind: {
        const bind = readBind(bytes, body, pos);
        if (bind === null || bind.statement !== name) return null;
        if (parsedHere) break;
        if (!isDescribed) portals.set(bind.portal, false);
        const sameParameters = needs.sameParameters || bind.values > 0;
        if (bind.formats <= 1) needs = { ...needs, sameParameters };
        else if (needs.columns < 0 || needs.columns === bind.formats)
          needs = { sameParameters, columns: bind.formats };
        else return null;
        break;
      }
      default:
        return null;
    }
  }
  if (!isAwaited) return 'incomplete';
  // What is bound behind the last Flush may be described by what is still to come.
  return [...portals.values()].includes(true) ? null : needs;
}

/**
 * Whether a client that has bound `portal` of its statement `name` is told of the rows before they come, by what it has
 * sent behind the Bind, `bytes[start, end)`. `incomplete`: that is still to come.
 */
export function describesRows(
  bytes: Buffer,
  start: number,
  end: number,
  name: string,
  portal: string,
): boolean | 'incomplete' {
  for (let pos = start; pos + HEADER_BYTES <= end; ) {
    const body = pos + HEADER_BYTES;
    const type = bytes[pos] as number;
    const length = bytes.readInt32BE(pos + 1);
    if (length < 4) return false;
    pos = body + length - 4;
    // What only opens or closes other things goes by; all else ends what is known of the portal.
    const hasKind = type === F.Describe || type === F.Close;
    if (!hasKind && type !== F.Parse && type !== F.Bind) return false;
    const start = hasKind ? body + 1 : body;
    const zero = nameEnd(bytes, start, Math.min(pos, end));
    if (zero < 0 && pos <= end) return false;
    if (zero < 0) break;
    const isPortal = hasKind ? bytes[body] === PORTAL : type === F.Bind;
    if (nameOf(bytes, start, zero) === (isPortal ? portal : name)) return type === F.Describe;
  }
  return 'incomplete';
}

interface BindShape {
  readonly portal: string;
  readonly statement: string;
  /** How many parameters it gives. */
  readonly values: number;
  /** How many formats it gives for columns of the result. */
  readonly formats: number;
}

/** Null: broken. */
function readBind(bytes: Buffer, body: number, end: number): BindShape | null {
  const portalEnd = nameEnd(bytes, body, end);
  const statementEnd = portalEnd < 0 ? -1 : nameEnd(bytes, portalEnd + 1, end);
  if (statementEnd < 0) return null;
  let pos = statementEnd + 1;
  const int16 = () => {
    pos += 2;
    return pos > end ? -1 : bytes.readUInt16BE(pos - 2);
  };
  const valueFormats = int16();
  if (valueFormats > 0) pos += 2 * valueFormats;
  const values = int16();
  for (let i = 0; i < values; i++) {
    if (pos + 4 > end) return null;
    pos += 4 + Math.max(0, bytes.readInt32BE(pos));
  }
  const formats = int16();
  if (formats < 0 || pos + 2 * formats !== end) return null;
  const portal = nameOf(bytes, body, portalEnd);
  return { portal, statement: nameOf(bytes, portalEnd + 1, statementEnd), values, formats };
}

function nameIn(bytes: Buffer, from: number, end: number): string {
  const zero = nameEnd(bytes, from, end);
  return nameOf(bytes, from, zero < 0 ? end : zero);
}
