/**
 * Decodes base64, refusing what Node would skip: foreign characters, missing or wrong padding, loose bits at
 * the end. Null when `text` is not the one way to write its bytes. `maxBytes` bounds the result.
 */
export function decodeBase64(text: string, maxBytes: number): Buffer | null {
  if (text.length % 4 !== 0 || text.length > Math.ceil(maxBytes / 3) * 4) return null;
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length > maxBytes) return null;
  return bytes.toString('base64') === text ? bytes : null;
}
