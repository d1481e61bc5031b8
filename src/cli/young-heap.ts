import { setFlagsFromString } from 'node:v8';

/**
 * Keeps the space in which V8 makes new objects as small as it begins, 1 MiB a half and thread. V8 would let it grow to 16
 * times that while many log in, and never give it back; a pooler's objects are few, and gone or old soon. Called before
 * anything of size is loaded: a space that has grown stays so.
 */
export function keepYoungHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}
