import { describe, expect, it } from 'vitest';
import { errorResponse, noticeResponse } from '../../src/wire/error-response.ts';
import { fatal } from '../../src/wire/pg-error.ts';

describe('errorResponse', () => {
  it('has severity twice, SQLSTATE and message, in that order', () => {
    expect(errorResponse(fatal('unknown pkt')).toString('latin1')).toBe(
      'E\0\0\0\x27SFATAL\0VFATAL\0C08P01\0Munknown pkt\0\0',
    );
  });

  it('adds detail and hint where there are any', () => {
    const bytes = errorResponse({
      severity: 'ERROR',
      sqlstate: '0A000',
      message: 'm',
      detail: 'd',
      hint: 'h',
    });
    expect(bytes.toString('latin1', 5)).toBe('SERROR\0VERROR\0C0A000\0Mm\0Dd\0Hh\0\0');
    expect(bytes.readInt32BE(1)).toBe(bytes.length - 1);
  });

  it('does not let a zero character in a text begin another field', () => {
    const bytes = errorResponse(fatal('no such database: a\0C00000'));
    expect(bytes.toString('latin1', 5)).toBe('SFATAL\0VFATAL\0C08P01\0Mno such database: a\0\0');
  });

  it('sends a long text whole', () => {
    const message = `no such database: ${'é'.repeat(5000)}`;
    expect(errorResponse(fatal(message)).toString('utf8')).toContain(message);
  });
});

describe('noticeResponse', () => {
  it('has severity NOTICE', () => {
    expect(noticeResponse({ sqlstate: '00000', message: 'hi' }).toString('latin1')).toBe(
      'N\0\0\0\x20SNOTICE\0VNOTICE\0C00000\0Mhi\0\0',
    );
  });
});
