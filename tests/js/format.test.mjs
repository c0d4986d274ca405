import assert from "node:assert/strict";
import { test } from "node:test";

import { linearTicks, logTicks, percent, quantile, significant, spread, tickText } from "../../static/format.js";

test("three significant digits, an exponent only outside 0.001 to 9,999", () => {
  const cases = [[0, "0"], [0.0719, "0.0719"], [0.5, "0.500"], [2.302585, "2.30"], [96.71, "96.7"], [1234, "1,234"], [9999, "9,999"],
                 [10000, "1.00e4"], [0.001, "0.00100"], [0.00099, "9.90e-4"], [-0.25, "-0.250"], [NaN, "–"], [Infinity, "–"]];
  for (const [value, text] of cases) assert.equal(significant(value), text);
  assert.equal(significant(0.123456, 4), "0.1235");
  assert.equal(percent(0.967), "96.7%");
});

test("log axes: 1 and 3 in each decade; powers of ten over many; more within one", () => {
  assert.deepEqual(logTicks(0.02, 3.5).map(tickText), ["0.03", "0.1", "0.3", "1", "3"]);
  assert.deepEqual(logTicks(1e-5, 10).map(tickText), ["1e-5", "1e-4", "0.001", "0.01", "0.1", "1", "10"]);
  assert.ok(logTicks(1e-30, 1).length <= 7);
  assert.deepEqual(logTicks(0.15, 0.9), [0.2, 0.3, 0.5, 0.7]);
  for (const [low, high] of [[1, 1.2], [0.9, 1.4], [2.1, 2.9], [3, 12], [1e-9, 1e6]]) {
    const ticks = logTicks(low, high);
    assert.ok(ticks.length >= 2 && ticks.length <= 9, `${low}..${high}: ${ticks}`);
    assert.ok(ticks.every((t) => t >= low * 0.99 && t <= high * 1.01));
  }
});

test("linear axes", () => {
  assert.deepEqual(linearTicks(0, 1000, 6), [0, 200, 400, 600, 800, 1000]);
  assert.deepEqual(linearTicks(0.8, 1.004, 5).map((v) => percent(v, 0)), ["80%", "85%", "90%", "95%", "100%"]);
  assert.deepEqual(linearTicks(1, 1, 5), []);
});

test("quantile ignores what is no number", () => {
  assert.equal(quantile([3, NaN, 1, Infinity, 2], 0.5), 2);
  assert.ok(Number.isNaN(quantile([NaN], 0.5)));
});

test("labels are moved apart, as little as possible, in order, and stay inside", () => {
  assert.deepEqual(spread([10, 100], 18, 0, 200), [10, 100], "nothing to do");
  assert.deepEqual(spread([50, 50], 18, 0, 200), [41, 59], "both give way");
  assert.deepEqual(spread([59, 41, 50], 18, 0, 200), [68, 32, 50], "order kept");
  assert.deepEqual(spread([195, 199], 18, 0, 200), [182, 200]);
  const placed = spread([5, 5, 5, 5], 20, 0, 60);
  assert.deepEqual(placed, [0, 20, 40, 60]);
});
