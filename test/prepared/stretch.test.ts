import { expect, it } from 'vitest';
import { stretchNeeds } from '../../src/prepared/stretch.ts';
import { frontend } from '../support/peer-messages.ts';

const { bindTexts, describe: describing, execute, flush, sync } = frontend;
const run = [bindTexts('', 'a', []), describing('P', ''), execute('')];

it('what describes all its portals can be sent once more, wherever it is cut', () => {
  const bytes = Buffer.concat([...run, flush(), ...run, sync()]);
  for (let end = 0; end <= bytes.length; end++)
    expect(stretchNeeds(bytes, end, 'a', false), `${end}`).not.toBe(null);
});

it('a client that waits ahead of a description gets its error', () => {
  const bytes = Buffer.concat([bindTexts('', 'a', []), flush(), ...run]);
  const awaited = bindTexts('', 'a', []).length + flush().length;
  expect(stretchNeeds(bytes, awaited - flush().length, 'a', false)).toBe('incomplete');
  expect(stretchNeeds(bytes, awaited, 'a', false)).toBe(null);
});
