import assert from "node:assert/strict";
import { test } from "node:test";

import { Store, countUpTo, decode, decodeCoarse, valueAt } from "../../static/store.js";

const b64 = (numbers) => Buffer.from(Float32Array.from(numbers).buffer).toString("base64");

/** A race of two racers and ten steps; the value at index k of (racer r, field f) is 100 r + 10 f + k. */
function message(blocks = [], more = {}) {
  return {
    run: "a", generation: 1, steps: 10, seeds: 1, trained: 0, blocks, verdicts: { from: 0, items: [] }, marks: [], seconds: null,
    racers: [{ id: "r1", label: "SGD", color: 0 }, { id: "r2", label: "Adam", color: 2 }],
    tracks: {
      loss: { at: { first: 1, stride: 1, count: 10, last: 10 }, fields: ["raw", "mid", "lo", "hi"] },
      eval: { at: { first: 0, stride: 5, count: 3, last: 10 }, fields: ["val_acc.mid", "val_acc.lo", "val_acc.hi"] },
      probe: { at: { first: 1, stride: 4, count: 3, last: 10 }, fields: ["evaluations"] },
    },
    ...more,
  };
}

function block(from, to, track = "loss", fields = 4) {
  const values = [];
  for (let r = 0; r < 2; r++) for (let f = 0; f < fields; f++) for (let k = from; k < to; k++) values.push(100 * r + 10 * f + k);
  return { track, from, to, b64: b64(values) };
}

test("decodeCoarse reads the upper halves of float32, NaN included", () => {
  const halves = Uint16Array.from([0x3fc0, 0xc000, 0x7fc0]);
  assert.deepEqual([...decodeCoarse(Buffer.from(halves.buffer).toString("base64"))], [1.5, -2, NaN]);
});

test("decode reads little-endian float32, NaN included", () => {
  assert.deepEqual([...decode(b64([1.5, NaN, -2]))], [1.5, NaN, -2]);
});

test("countUpTo counts entries at or below", () => {
  assert.deepEqual([0, 1, 4, 9].map((x) => countUpTo([1, 4, 4, 8], x)), [0, 1, 3, 4]);
});

test("a grid is evenly spaced, but for its last step", () => {
  const store = new Store(message());
  assert.deepEqual([...store.tracks.probe.at], [1, 5, 10]);
  assert.equal(store.tracks.loss.at.at(-1), 10);
});

test("blocks land in their rows", () => {
  const store = new Store(message([block(0, 4)], { trained: 4 }));
  assert.deepEqual(store.have, { loss: 4, eval: 0, probe: 0, verdict: 0, text: 0 });
  const line = store.line(1, "loss", "");
  assert.deepEqual([...line.mid.slice(0, 4)], [110, 111, 112, 113]);
  assert.ok(Number.isNaN(line.mid[4]));
  assert.equal(store.reach, 4);
});

test("a block may repeat or overlap, and is dropped when it starts past what is held", () => {
  const store = new Store(message([block(0, 4)]));
  assert.equal(store.merge(message([block(0, 4)])), false, "nothing new");
  assert.equal(store.merge(message([block(6, 10)])), false, "a gap");
  assert.equal(store.have.loss, 4);
  assert.equal(store.merge(message([block(2, 8)])), true);
  assert.equal(store.have.loss, 8);
  assert.deepEqual([...store.line(0, "loss", "").raw.slice(0, 8)], [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.equal(store.merge(message([block(0, 6)])), false, "an old one takes nothing away");
  assert.equal(store.have.loss, 8);
});

test("a block of the wrong size is an error, not a wrong line", () => {
  assert.throws(() => new Store(message([{ ...block(0, 4), to: 5 }])), /32 numbers, not 40/);
});

test("verdicts merge like blocks and are found by step", () => {
  const items = [0, 3, 6].map((step) => ({ step, headline: `at ${step}` }));
  const store = new Store(message([], { verdicts: { from: 0, items: items.slice(0, 2) } }));
  store.merge(message([], { verdicts: { from: 3, items: [{ step: 9, headline: "past a gap" }] } }));
  assert.equal(store.have.verdict, 2);
  store.merge(message([], { verdicts: { from: 1, items: items.slice(1) } }));
  assert.equal(store.have.verdict, 3);
  assert.deepEqual([2.9, 3, 100].map((s) => store.verdict(s).headline), ["at 0", "at 3", "at 6"]);
});

test("texts merge like verdicts; a racer that writes no more keeps its last one, marked", () => {
  const told = (step, ...texts) => ({ step, texts });
  const store = new Store(message([], { texts: { from: 0, items: [told(0, "a", "b"), told(5, "c", "d")] } }));
  assert.equal(store.merge(message([], { texts: { from: 3, items: [told(9, "past", "a gap")] } })), false);
  assert.equal(store.merge(message([], { texts: { from: 1, items: [told(5, "c", "d"), told(8, "e", null)] } })), true);
  assert.equal(store.merge(message([], { texts: { from: 0, items: [told(0, "a", "b")] } })), false, "an old one takes nothing away");
  assert.equal(store.have.text, 3);
  assert.equal(store.text(0, -1), null);
  assert.deepEqual(store.text(0, 4.9), { step: 0, text: "a", ended: false });
  assert.deepEqual(store.text(0, 10), { step: 8, text: "e", ended: false });
  assert.deepEqual(store.text(1, 7), { step: 5, text: "d", ended: false });
  assert.deepEqual(store.text(1, 8), { step: 5, text: "d", ended: true });
});

test("complete only when all is trained and held", () => {
  const all = [block(0, 10), block(0, 3, "eval", 3), block(0, 3, "probe", 1)];
  assert.equal(new Store(message(all, { trained: 9 })).complete, false);
  assert.equal(new Store(message(all.slice(0, 2), { trained: 10 })).complete, false);
  const store = new Store(message(all, { trained: 10 }));
  assert.equal(store.complete, true);
  assert.equal(store.reach, 10);
});

test("valueAt takes the nearest sample at or before a step", () => {
  const line = new Store(message([block(0, 3, "eval", 3)])).line(0, "eval", "val_acc");
  assert.deepEqual([0, 4.9, 5, 99].map((s) => valueAt(line, line.mid, s)), [0, 0, 1, 2]);
  assert.ok(Number.isNaN(valueAt(line, line.mid, -1)));
});

test("evaluations place a step between samples, go on at the pace so far, and invert", () => {
  const store = new Store(message([{ track: "probe", from: 0, to: 2, b64: b64([2, 10, 1, NaN]) }]));
  const place = store.place(0, "evaluations");
  assert.deepEqual([0, 0.5, 1, 3, 5, 10].map(place), [0, 1, 2, 6, 10, 20]);
  for (const step of [0.5, 3, 10]) assert.equal(store.stepAt(0, "evaluations", place(step)), step);
  assert.equal(store.place(1, "evaluations")(4), 4, "a diverged racer goes on at its last pace");
});

test("seconds are steps times the racer's own pace", () => {
  const store = new Store(message([], { seconds: { r1: 0.5, r2: 2 } }));
  assert.deepEqual([store.place(0, "seconds")(4), store.place(1, "seconds")(4)], [2, 8]);
  assert.equal(store.stepAt(1, "seconds", 8), 4);
  assert.ok(Number.isNaN(new Store(message()).place(0, "seconds")(1)), "not measured yet");
});

test("a racer is gone when it failed and its loss is no number any more", () => {
  const marks = [{ racer: "r1", step: 2, kind: "diverged", text: "" }, { racer: "r2", step: 2, kind: "decay", text: "" }];
  const nan = Array(8).fill(NaN);
  const store = new Store(message([{ track: "loss", from: 0, to: 2, b64: b64([...nan, ...nan]) }], { marks }));
  assert.equal(store.gone(0), true);
  assert.equal(store.gone(1), false, "a decay is no failure");
  assert.equal(store.failure("r1", 1), undefined, "not yet");
});
