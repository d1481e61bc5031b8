const DISCARD_ALL = Buffer.from('DISCARD ALL\0');
const DEALLOCATE_ALL = Buffer.from('DEALLOCATE ALL\0');

/** Whether a CommandComplete with a body of `bodyBytes` may be one of which {@link dropsStatements} is true. */
export function mayDropStatements(bodyBytes: number): boolean {
  return bodyBytes === DISCARD_ALL.length || bodyBytes === DEALLOCATE_ALL.length;
}

/** Whether CommandComplete's body is the tag of a statement after which no prepared statement is left. */
export function dropsStatements(body: Buffer): boolean {
  return body.equals(DISCARD_ALL) || body.equals(DEALLOCATE_ALL);
}
