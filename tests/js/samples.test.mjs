import assert from "node:assert/strict";
import { test } from "node:test";

import { titleOf, written } from "../../static/samples.js";
import { Store } from "../../static/store.js";

const b64 = (numbers) => Buffer.from(Float32Array.from(numbers).buffer).toString("base64");

/** Two racers over a hundred steps, the loss of the first 200 - step and of the second 300 - step; the second diverges. */
function race() {
  const loss = [200, 300].flatMap((top) => Array.from({ length: 100 }, (_, i) => top - i - 1));
  return new Store({
    run: "a", generation: 1, steps: 100, seeds: 1, trained: 100, blocks: [{ track: "loss", from: 0, to: 100, b64: b64(loss) }],
    marks: [{ racer: "r2", step: 60, kind: "diverged", text: "" }],
    racers: [{ id: "r1", label: "SGD", color: 0 }, { id: "r2", label: "Adam", color: 2 }],
    tracks: { loss: { at: { first: 1, stride: 1, count: 100, last: 100 }, fields: ["mid"] } },
    texts: { from: 0, items: [
      { step: 0, texts: ["a", "b"] }, { step: 15, texts: ["c", "d"] }, { step: 50, texts: ["<b>", "f"] }, { step: 70, texts: ["g", null] },
    ] },
  });
}

test("what is written at a step is the last text by then, beside the loss there and an early text", () => {
  const [one, other] = written(race(), [55, 55]);
  assert.deepEqual(one, {
    name: "SGD", color: 0, loss: 145, text: "<b>", step: 50, mark: "", early: { step: 15, text: "c", ended: false },
  });
  assert.deepEqual([other.text, other.loss], ["f", 245]);
  assert.equal(titleOf([one, other]), "What each writes after 50 steps");
});

test("who has diverged keeps the last text, and it is said", () => {
  const rows = written(race(), [80, 80]);
  assert.deepEqual(rows.map((row) => [row.text, row.step]), [["g", 70], ["f", 50]]);
  assert.deepEqual(rows.map((row) => row.mark), ["", "diverged: its last text, after 50 steps"]);
  assert.equal(titleOf(rows), "What each writes after 70 steps", "the title speaks of those that go on");
});

test("where racers are at steps of their own, the title says so", () => {
  assert.equal(titleOf(written(race(), [80, 20])), "What each writes at the cursor");
  assert.equal(titleOf(written(race(), [0, 0])), "What each writes before the first step");
});

test("before the first text has come there is none", () => {
  const store = race();
  store.texts = [];
  assert.deepEqual(written(store, [10, 10]).map((row) => [row.text, row.step, row.mark, row.early]), [[null, null, "", null], [null, null, "", null]]);
});
