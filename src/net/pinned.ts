type Koffi = typeof import('koffi');

/** Buffers of which the address is handed to calls, once it is known; 0 before. */
const pinned = new Map<Uint8Array, number>();

/**
 * Memory that is there for as long as the process: calls are given its address, which is a quarter cheaper than to have
 * the library find out where a buffer lies.
 */
export function allocPinned(bytes: number): Buffer {
  const buffer = Buffer.allocUnsafeSlow(bytes);
  pinned.set(buffer, 0);
  return buffer;
}

/** The same in `count` parts of `bytes` each. */
export function allocPinnedParts(count: number, bytes: number): readonly Buffer[] {
  const whole = Buffer.allocUnsafeSlow(count * bytes);
  return Array.from({ length: count }, (_, i) => {
    const part = whole.subarray(i * bytes, (i + 1) * bytes);
    pinned.set(part, 0);
    return part;
  });
}

/** Of memory that is pinned; 0: it is not. */
export function addressOf(koffi: Koffi, bytes: Uint8Array): number {
  const known = pinned.get(bytes);
  if (known === undefined) return 0;
  if (known !== 0) return known;
  const address = Number(koffi.address(bytes));
  pinned.set(bytes, address);
  return address;
}
