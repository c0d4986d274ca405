import assert from "node:assert/strict";
import { test } from "node:test";

import { cellText, colorsOf } from "../../static/heat.js";
import { Heat, LensStore } from "../../static/lens.js";
import { LensView } from "../../static/lensview.js";
import { figureOf, layerPanels, placesOf, rangeOf, valueOf, weightPanels } from "../../static/panels.js";
import { themeOf } from "../../static/theme.js";

const theme = themeOf("light", { light: Array(8).fill("#2f6fde"), dark: Array(8).fill("#6ea2ff") });
const charts = [{ id: "m", missing: "SGD keeps no m" }, { id: "v", missing: "" }];
const b64 = (bytes) => Buffer.from(bytes).toString("base64");
/** As the server sends them: the upper halves of float32 numbers. */
const halves = (numbers) => b64(Uint16Array.from(new Uint32Array(Float32Array.from(numbers).buffer), (bits) => bits >>> 16).buffer);
const close = (a, b) => assert.ok(Math.abs(a - b) <= 0.01 * Math.abs(b), `${a} is not ${b}`);

const AT = [1, 2, 5, 10];
const QUANTITIES = ["g", "m", "v", "m_hat", "root_v_hat", "step", "apart"];
const CODE = { rows: 2, columns: 2, block: [1, 2], shape: [2, 3], racer: 0, first: 4, smallest: 1e-12, decades: 16, levels: 127, zero: 128 };

/** Two racers, a layer W of 4 x 1 and one V of 2 x 3, one watched weight; the rule has no m. */
function about({ coordinates = [{ index: 6, name: "V[0, 2]" }], since } = {}) {
  return {
    racers: [{ id: "r0", label: "with it", color: 0 }, { id: "r1", label: "twin", color: 1, since }],
    layers: [{ name: "W", size: 4, shape: [4, 1] }, { name: "V", size: 6, shape: [2, 3] }], layer: "V", quantities: QUANTITIES,
    tracks: {
      norms: { at: AT, fields: QUANTITIES.flatMap((q) => [`${q}.0`, `${q}.1`]) },
      rate: { at: AT, fields: ["q05", "q25", "q50", "q75", "q95"] },
      watch: { at: AT, fields: coordinates.flatMap(({ index }) => ["g", "m_hat", "root_v_hat", "step", "p"].map((q) => `${q}.${index}`)) },
      heat: { at: AT, cells: 4, maps: ["g", "m", "v"] },
    },
    coordinates, heat: CODE, drawing: [{ label: "hidden, 4", tensors: ["W"] }, { label: "output, 6", tensors: ["V"] }],
  };
}

/** Samples 0 … to-1 of all tracks: of racer r a norm is (r + 1) * step, no m and no m_hat, and all else 1. */
function blocks(to, { from = 0, coordinates = 1 } = {}) {
  const steps = AT.slice(from, to);
  const rows = (fields, value) => [0, 1].flatMap((racer) => fields.flatMap((field) => steps.map((step) => value(racer, field, step))));
  const fields = about().tracks.norms.fields;
  const none = (field) => /^m(_hat)?\./.test(field);
  const watched = Array(coordinates).fill(["g.", "m_hat.", "root_v_hat.", "step.", "p."]).flat();
  return [
    { track: "norms", from, to, b64: halves(rows(fields, (racer, field, step) => (none(field) ? NaN : (racer + 1) * step))) },
    { track: "rate", from, to, b64: halves(rows([1, 2, 4, 8, 16], (racer, quantile) => quantile)) },
    { track: "watch", from, to, b64: halves(rows(watched, (racer, field, step) => (none(field) ? NaN : field === "g." ? -step : 1))) },
    { track: "heat", from, to, b64: b64(steps.flatMap((step) => [128 + step, 128 - step, 128, 129, 0, 0, 0, 0, 200, 201, 202, 203])) },
  ];
}

function store(more) {
  const made = new LensStore({ run: "a", about: about(more) });
  made.merge(blocks(4));
  return made;
}

test("blocks fill the tracks in order; overlap is taken, a gap is left for later", () => {
  const made = new LensStore({ run: "a", about: about() });
  assert.ok(!made.any && !made.complete);
  assert.ok(!made.merge(blocks(3, { from: 1 })), "the first sample is lacking");
  assert.ok(made.merge(blocks(2)));
  assert.deepEqual(made.have, { norms: 2, rate: 2, watch: 2, heat: 2 });
  assert.ok(!made.merge(blocks(2)), "nothing new");
  assert.ok(made.merge(blocks(4, { from: 1 })) && made.complete);
  const line = made.line(1, "norms", "g.0");
  assert.deepEqual([...line.values], [2, 4, 10, 20]);
  assert.equal(made.tracks.heat.counts.reduce((a, b) => a + b), 4 * 12, "each code is counted once");
});

test("a block that does not fit is told", () => {
  const made = new LensStore({ run: "a", about: about() });
  assert.throws(() => made.merge([{ track: "norms", from: 0, to: 2, b64: halves([1, 2, 3]) }]), /holds 3 numbers, not 56/);
  assert.throws(() => made.merge([{ track: "heat", from: 0, to: 2, b64: b64([1, 2, 3]) }]), /hold 3 codes, not 24/);
});

test("a lens without watched weights is complete without them", () => {
  const made = new LensStore({ run: "a", about: about({ coordinates: [] }) });
  made.merge(blocks(4).filter(({ track }) => track !== "watch"));
  assert.ok(made.complete);
});

test("codes of heat maps stand for the numbers that the server coded", () => {
  const heat = new Heat({ at: AT, cells: 4, maps: ["g"] }, CODE);
  assert.ok(Number.isNaN(heat.value(0)));
  assert.equal(heat.value(128), 0);
  close(heat.value(129), 1e-12);
  close(heat.value(127), -1e-12);
  close(heat.value(255), 1e4);
  close(heat.value(1), -1e4);
  close(heat.value(160) / heat.value(159), 10 ** (16 / 126));
});

test("a weight has its cell and a cell its weights, at the edge too", () => {
  const { heat } = store().tracks;
  assert.deepEqual([4, 5, 6, 7, 9].map((index) => heat.cellOf(index)), [[0, 0], [0, 0], [0, 1], [1, 0], [1, 1]]);
  assert.equal(heat.cellOf(3), null);
  assert.equal(heat.cellOf(10), null);
  assert.deepEqual(heat.weights(1, 1), { rows: [1, 2], columns: [2, 3], index: 9 });
  assert.deepEqual(heat.weights(0, 0), { rows: [0, 1], columns: [0, 2], index: 4 });
});

test("the map at a step is the last one by then", () => {
  const { heat } = store().tracks;
  assert.deepEqual([0, 1, 4, 5, 1000].map((step) => heat.sample(step)), [-1, 0, 1, 2, 3]);
  assert.deepEqual([...heat.image("g", 2)], [133, 123, 128, 129]);
  assert.deepEqual([...heat.image("v", 0)], [200, 201, 202, 203]);
});

test("the scale of colours spans what is there, in whole powers of ten, at most five", () => {
  const heat = new Heat({ at: [1], cells: 6, maps: ["g"] }, CODE);
  assert.equal(heat.range(), null, "nothing is held");
  // 128 + 80 is about 1.07e-2, 128 + 96 about 1.16.
  heat.merge({ from: 0, to: 1, b64: b64([208, 48, 224, 128, 0, 208]) });
  assert.deepEqual(heat.range(), [-2, 1]);
  const wide = new Heat({ at: [1], cells: 3, maps: ["g"] }, CODE);
  wide.merge({ from: 0, to: 1, b64: b64([129, 130, 224]) });
  assert.deepEqual(wide.range(), [-4, 1]);
});

test("colours part by sign, deepen with size, and nothing is drawn where there is no number", () => {
  const { heat } = store().tracks;
  const colors = colorsOf(heat, true, [-4, 0], theme);
  const at = (code) => [...colors.subarray(4 * code, 4 * code + 4)];
  assert.equal(at(0)[3], 0);
  assert.deepEqual(at(128), [0xee, 0xf0, 0xf3, 255]);
  assert.deepEqual(at(255), [0x87, 0x47, 0x00, 255]);
  assert.deepEqual(at(1), [0x12, 0x40, 0x8f, 255]);
  const light = (code) => at(code).slice(0, 3).reduce((a, b) => a + b);
  for (const codes of [[200, 205, 210, 215, 220], [56, 51, 46, 41, 36]]) {
    const lights = codes.map(light);
    assert.deepEqual(lights, [...lights].sort((a, b) => b - a));
    assert.equal(new Set(lights).size, lights.length);
  }
  const size = colorsOf(heat, false, [-4, 0], theme);
  assert.deepEqual([...size.subarray(4 * 255, 4 * 255 + 3)], [0x00, 0x40, 0x3b]);
});

test("a cell is read out with its rows, columns and all maps that have a number", () => {
  const { heat } = store().tracks;
  assert.equal(cellText(heat, 0, 1, 0), "row 0, column 2: g -1.0e-12, √v 0.0014");
  assert.match(cellText(heat, 1, 0, 0), /^row 1, columns 0–1: mean g 0, √v /);
});

test("a layer's numbers are root mean squares or norms", () => {
  const layer = (rms) => layerPanels(store(), "W", { rms, pictured: 0, charts });
  assert.equal(valueOf(layer(false)[0], 1, 5), 10);
  assert.equal(valueOf(layer(true)[0], 1, 5), 5, "four weights: half the norm");
  assert.equal(valueOf(layer(true)[0], 0, 9), 2.5);
  assert.ok(Number.isNaN(valueOf(layer(true)[0], 0, 0)));
});

test("what a rule does not keep is said, in the words of the charts above where they have some", () => {
  const panels = layerPanels(store(), "W", { rms: true, pictured: 0, charts });
  const missing = (id, list) => list.find((one) => one.id === id).missing;
  assert.deepEqual(["g", "m", "m_hat", "v", "rate"].map((id) => missing(id, panels)), ["", "SGD keeps no m", "SGD keeps no m", "", ""]);
  assert.equal(missing("m_hat", weightPanels(store(), 6, { charts })), "SGD keeps no m");
  assert.equal(missing("m", layerPanels(store(), "W", { rms: true, pictured: 0, charts: [] })), "There is no m of one number for each weight.");
  const empty = new LensStore({ run: "a", about: about() });
  assert.equal(missing("m", layerPanels(empty, "W", { rms: true, pictured: 0, charts })), "", "nothing is known yet");
});

test("a layer without norms of its own is shown with those it is summed up with", () => {
  assert.equal(valueOf(layerPanels(store(), "U", { rms: false, pictured: 0, charts })[0], 0, 1), 1);
  assert.equal(store().layer("U"), 1);
});

test("signed numbers lie on axes about 0; others on axes that fit", () => {
  const panels = weightPanels(store(), 6, { charts });
  const range = (id) => rangeOf(panels.find((one) => one.id === id));
  close(range("g")[1], 10.8);
  assert.equal(range("g")[0], -range("g")[1]);
  assert.ok(range("p")[0] > 0.98 && range("p")[1] < 1.02, "the weight stands at 1");
  const [low, high] = range("root_v_hat");
  assert.ok(low < 0 && high > 0 && high - low < 1, "1 is in the middle of a log axis");
  assert.equal(range("m_hat"), null);
});

test("a log axis leaves out zeros and what lies far below", () => {
  const line = (values) => ({ lines: [{ values: Float32Array.from(values), begin: 0, held: values.length }], log: true });
  const [low, high] = rangeOf(line([0, 1e-20, 1]));
  assert.ok(low < -9 && low > -10 && high > 0 && high < 1);
  assert.equal(rangeOf(line([0, 0])), null);
});

test("the panels lie side by side within any width, apart from each other", () => {
  const lines = [];
  for (const width of [358, 700, 1040, 1400]) {
    for (const panels of [Array(8).fill({ lines }), [{ lines }, { lines }, { lines }, { lines }, { lines, span: 2 }]]) {
      const { cells, height, head, left } = placesOf(panels, width);
      cells.forEach((cell, i) => {
        assert.ok(cell.width >= 90 && cell.left >= left && cell.left + cell.width <= width, `${width}: ${JSON.stringify(cell)}`);
        assert.ok(cell.top >= head && cell.top + cell.height <= height);
        for (const other of cells.slice(0, i)) {
          const beside = other.left + other.width + left <= cell.left || cell.left + cell.width + left <= other.left;
          assert.ok(beside || other.top + other.height + head <= cell.top, `${width}: ${i} overlaps`);
        }
      });
    }
  }
});

test("the figure has a line for each racer and panel, bands of rates, and text that can be read", () => {
  const one = store();
  const panels = layerPanels(one, "W", { rms: true, pictured: 1, charts });
  const { traces, layout } = figureOf({ panels, places: placesOf(panels, 1000), store: one, window: [0, 10], theme });
  const uids = traces.map((trace) => trace.uid);
  assert.equal(new Set(uids).size, uids.length);
  assert.equal(uids.filter((uid) => /-[01]$/.test(uid) && !uid.includes("band")).length, 2 * 6, "all panels but m and m̂");
  const bands = traces.filter((trace) => trace.uid.startsWith("rate-band"));
  assert.deepEqual(bands.map((band) => band.y.slice(0, 4)), [[16, 16, 16, 16], [8, 8, 8, 8]]);
  assert.ok(layout.font.size >= 13);
  assert.deepEqual(traces.find((trace) => trace.uid === "g-1").line.dash, "dash");
});

test("a fork's line begins where it leaves its parent", () => {
  const one = store({ since: 4 });
  const panels = layerPanels(one, "W", { rms: false, pictured: 0, charts });
  const { traces } = figureOf({ panels, places: placesOf(panels, 1000), store: one, window: [0, 10], theme });
  assert.deepEqual(traces.find((trace) => trace.uid === "g-1").x, [4, 5, 10]);
  assert.deepEqual(traces.find((trace) => trace.uid === "g-1").y, [4, 10, 20]);
  assert.deepEqual(traces.find((trace) => trace.uid === "g-0").x, [1, 2, 5, 10]);
});

/** The view without its DOM. */
function view() {
  const made = Object.create(LensView.prototype);
  return Object.assign(made, { element: { hidden: true }, parts: { note: { textContent: "" } }, store: null, next: null, run: "" });
}
const data = { steps: 10, charts };

test("a lens that is not described is asked for; then its samples are held and told", () => {
  const lens = view();
  assert.equal(lens.take({ run: "a", blocks: [], problem: null }, data), "unknown");
  assert.deepEqual([lens.told, lens.wanting], [{ run: "a", have: {} }, true]);
  assert.equal(lens.take({ run: "a", about: about(), blocks: blocks(2), problem: null }, data), "news");
  assert.deepEqual(lens.told, { run: "a", have: { norms: 2, rate: 2, watch: 2, heat: 2 } });
  assert.equal(lens.take({ run: "a", blocks: [], problem: null }, data), "", "an answer without news");
  assert.ok(lens.wanting);
  lens.take({ run: "a", blocks: blocks(4, { from: 2 }), problem: null }, data);
  assert.ok(!lens.wanting);
});

test("the old lens stays until the new one has something to show, and a weight that comes is chosen", () => {
  const lens = view();
  lens.take({ run: "a", about: about(), blocks: blocks(4), problem: null }, data);
  assert.equal(lens.chosen, 6);
  const two = [{ index: 6, name: "V[0, 2]" }, { index: 8, name: "V[1, 1]" }];
  lens.take({ run: "b", about: about({ coordinates: two }), blocks: [], problem: null }, data);
  assert.deepEqual([lens.store.run, lens.wanting, lens.told], ["a", true, { run: "b", have: { norms: 0, rate: 0, watch: 0, heat: 0 } }]);
  lens.take({ run: "b", blocks: blocks(2, { coordinates: 2 }), problem: null }, data);
  assert.deepEqual([lens.store.run, lens.next, lens.chosen], ["b", null, 8]);
  lens.take({ run: "c", about: about({ coordinates: two.slice(0, 1) }), blocks: blocks(1), problem: null }, data);
  assert.equal(lens.chosen, 6, "the chosen one has been dropped");
});

test("a sentence in place of a lens is shown, and nobody is asked for more", () => {
  const lens = view();
  assert.equal(lens.take({ run: "", blocks: [], problem: "There is no layer 'U'." }, data), "");
  assert.equal(lens.parts.note.textContent, "There is no layer 'U'.");
  assert.ok(!lens.wanting && !lens.element.hidden);
});

test("a message without a lens hides it", () => {
  const lens = view();
  lens.take({ run: "a", about: about(), blocks: blocks(2), problem: null }, data);
  assert.equal(lens.take(undefined, data), "");
  assert.ok(lens.element.hidden && !lens.wanting && lens.store === null);
});
