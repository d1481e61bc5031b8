import { describe, expect, test } from 'vitest';
import { growthPerUnit } from './trend.ts';

const readings = (values: readonly number[]) => values.map((value, i) => ({ done: 100 * (i + 1), value }));

describe('growthPerUnit', () => {
  test('tells how fast a value grows', () => {
    expect(growthPerUnit(readings([0, 50, 100, 150, 200, 250, 300, 350]))).toBe(0.5);
  });

  test('counts nothing of what grows at first and then stands', () => {
    expect(
      growthPerUnit(readings([10, 900, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000])),
    ).toBe(0);
  });

  test('of what grows for half of the time and then stands it counts nothing from the third quarter on', () => {
    const values = readings([10, 20, 30, 40, 40, 40, 40, 40]);
    expect(growthPerUnit(values)).toBeGreaterThan(0);
    expect(growthPerUnit(values, 'third')).toBe(0);
    expect(growthPerUnit(readings([0, 50, 100, 150, 200, 250, 300, 350]), 'third')).toBe(0.5);
  });

  test('minds no outlier', () => {
    expect(growthPerUnit(readings([7, 7, 7, 7, 9000, 7, 7, 7, 7, 7, 9000, 7]))).toBe(0);
  });

  test('is told of too few', () => {
    expect(() => growthPerUnit(readings([1, 2, 3]))).toThrow('no quarters');
  });
});
