import assert from "node:assert/strict";
import { test } from "node:test";

import { fitRange, geometry, levelAt, lossChart, namesOf, reading, scene, worseThanGuessing } from "../../static/figure.js";
import { Store } from "../../static/store.js";
import { nameFor, themeOf } from "../../static/theme.js";

const STEPS = 1000;
const palette = { light: Array(8).fill("#2f6fde"), dark: Array(8).fill("#6ea2ff") };
const accuracy = { id: "val_acc", track: "eval", field: "val_acc", label: "Validation accuracy", percent: true, log: false };
const b64 = (rows) => Buffer.from(Float32Array.from(rows.flat()).buffer).toString("base64");

/** Two racers: one falls like 1/t; the other too, or explodes and ends at step 41. */
function race({ diverges = false, run = "a", steps = STEPS } = {}) {
  const at = Array.from({ length: steps }, (_, i) => i + 1);
  const falls = at.map((t) => 2.3 / (1 + t / 50));
  const explodes = at.map((t) => (t < 41 ? 2.3 * Math.exp(Math.max(0, t - 20)) : NaN));
  const rows = [falls, diverges ? explodes : falls].flatMap((mid) => [mid, mid, mid.map((v) => 0.8 * v), mid.map((v) => 1.2 * v)]);
  const evalAt = Array.from({ length: 51 }, (_, i) => (i * steps) / 50);
  const climbs = evalAt.map((t) => 0.97 - 0.87 * Math.exp(-t / 40));
  const data = {
    run, generation: 1, steps, trained: steps, seeds: 8, seconds: null,
    racers: [{ id: "r1", label: "SGD", color: 0, note: "0.1" }, { id: "r2", label: "Adam", color: 2, note: "0.003" }],
    tracks: {
      loss: { at: { first: 1, stride: 1, count: steps, last: steps }, fields: ["raw", "mid", "lo", "hi"] },
      eval: { at: { first: 0, stride: steps / 50, count: 51, last: steps }, fields: ["val_acc.mid", "val_acc.lo", "val_acc.hi"] },
    },
    blocks: [{ track: "loss", from: 0, to: steps, b64: b64(rows) },
             { track: "eval", from: 0, to: 51, b64: b64(Array(6).fill(climbs)) }],
    marks: diverges ? [{ racer: "r2", step: 41, kind: "diverged", text: "Adam diverged" }] : [],
    levels: [{ name: "guessing", value: 2.302585 }], loss_label: "Training loss", loss_log: true,
  };
  return { store: new Store(data), loss: lossChart(data) };
}

function draw({ store, loss }, more = {}) {
  const charts = [loss, accuracy];
  return scene({
    store, ghost: null, charts, ranges: charts.map((c) => fitRange(c, [store])), head: 500, axis: "steps", zoom: null, detail: false,
    theme: themeOf("light", palette), box: geometry(1040), measure: (name, text) => 8 * (name.length + text.length), ...more,
  });
}

const trace = (drawn, part) => drawn.traces.find((t) => t.uid === part);

test("the range of the loss has room for its lines and the level, and a cap for those that explode", () => {
  const calm = race();
  const [low, high] = fitRange(calm.loss, [calm.store]).map((v) => 10 ** v);
  assert.ok(low < 2.3 / 21 && low > 0.05 && high > 2.7 && high < 4, `${low}..${high}`);
  const wild = race({ diverges: true });
  const top = 10 ** fitRange(wild.loss, [wild.store])[1];
  assert.ok(top >= 12 * 2.3 && top < 12 * 2.3 * 1.5, `${top}`);
});

test("the range of an accuracy leaves the climb out and nothing else", () => {
  const { store } = race();
  const [low, high] = fitRange(accuracy, [store]);
  assert.ok(low >= 0.5 && low <= 0.9 && high >= 1 && high < 1.02, `${low}..${high}`);
});

test("nothing held: no range", () => {
  const { store, loss } = race();
  store.tracks.loss.held = 0;
  assert.equal(fitRange(loss, [store]), null);
});

test("lines end at the play head, with at most 400 points while streaming and all at rest", () => {
  const streaming = trace(draw(race(), { head: 1000 }), "run-0-r1-mid");
  assert.ok(streaming.x.length <= 401 && streaming.x.at(-1) === 1000);
  assert.equal(trace(draw(race(), { head: 1000, detail: true }), "run-0-r1-mid").x.length, 1000);
  assert.equal(trace(draw(race(), { head: 500.7 }), "run-0-r1-mid").x.at(-1), 500);
});

test("a spike in the raw values survives thinning", () => {
  const one = race();
  one.store.tracks.loss.row(0, "raw")[617] = 99;
  assert.ok(trace(draw(one, { head: 1000 }), "run-0-r1-raw").y.includes(99));
});

test("points that were drawn stay put as the line grows", () => {
  const one = race();
  const [early, later] = [400, 405].map((head) => trace(draw(one, { head }), "run-0-r1-mid").x.slice(0, -1));
  assert.deepEqual(later.slice(0, early.length), early);
});

test("a band is a closed outline that stops at a gap", () => {
  const band = trace(draw(race({ diverges: true }), { head: 1000, detail: true }), "run-0-r2-band");
  assert.equal(band.x[0], 1);
  assert.equal(Math.max(...band.x.filter((x) => x !== null)), 40);
  assert.equal(band.x.at(-1), null);
});

test("a ghost is drawn in full, whatever the play head", () => {
  const drawn = draw(race({ run: "b" }), { ghost: race().store, head: 10 });
  assert.equal(trace(drawn, "ghost-0-r1-mid").x.at(-1), 1000);
  assert.equal(trace(drawn, "ghost-0-r1-mid").opacity, 0.35);
  assert.equal(trace(drawn, "run-0-r1-mid").x.at(-1), 10);
});

test("names stand at the cursor, apart; a diverged racer is named where it left", () => {
  const { labels, cursor } = draw(race()).overlay;
  const upper = labels.filter((l) => l.y < 350);
  assert.equal(upper.length, 2);
  assert.ok(upper.every((l) => l.x > cursor && l.anchor === "start"));
  assert.ok(Math.abs(upper[0].y - upper[1].y) >= 17.9, "equal values do not overlap");
  const gone = draw(race({ diverges: true })).overlay.labels.find((l) => l.gone);
  assert.equal(gone.text, "diverged at step 41");
  assert.ok(gone.x < cursor / 2 && gone.y < 50);
});

test("narrow: past the middle the names stand left of the cursor", () => {
  const { labels, cursor } = draw(race(), { head: 900, box: geometry(366) }).overlay;
  assert.ok(labels.length && labels.every((l) => l.anchor === "end" && l.x < cursor));
});

test("no cursor where each racer has its own x, but a dot at each end", () => {
  const { overlay } = draw(race(), { axis: "evaluations" });
  assert.equal(overlay.cursor, null);
  assert.equal(overlay.dots.length, 4);
});

test("zoomed: the x range is the zoom, and lines reach its edges", () => {
  const drawn = draw(race(), { zoom: [100, 200] });
  assert.deepEqual(drawn.layout.xaxis.range, [100, 200]);
  const { x } = trace(drawn, "run-0-r1-mid");
  assert.ok(x[0] <= 100 && x.at(-1) >= 200);
});

test("the readout tells nothing past the play head, and the marks near the pointer", () => {
  const { store, loss } = race({ diverges: true });
  const at = (x, head) => reading({ store, charts: [loss, accuracy], head, axis: "steps", x, reachOfMark: 5 });
  assert.equal(at(50, 500).rows[0].values[0], "1.150");
  assert.equal(at(50, 500).rows[1].values[0], "diverged");
  assert.deepEqual(at(600, 500).rows[0].values, ["–", "–"]);
  assert.deepEqual(at(43, 500).marks, ["Adam diverged"]);
  assert.deepEqual(at(43, 42).marks, ["Adam diverged"]);
  assert.deepEqual(at(43, 40).marks, []);
});

test("racers of one name are told apart by their note", () => {
  assert.deepEqual(namesOf([{ label: "Adam", note: "0.1" }, { label: "Adam", note: "0.01" }, { label: "SGD", note: "1" }]), ["Adam 0.1", "Adam 0.01", "SGD"]);
});

/** A figure on whose upper chart these losses are levels. */
function levelled(values, width, more = {}) {
  const one = race();
  one.loss.levels = values.map((value) => ({ name: `what has a loss of ${value}`, value, meaning: `About ${value}.` }));
  return draw(one, { box: geometry(width), measure: (name, text) => 7 * text.length, ...more }).overlay;
}

test("names of levels that lie close together stand apart, in the order of their lines, joined to them", () => {
  for (const width of [1040, 366]) {
    const { levels, box } = levelled([0.2, 2.3, 0.21, 0.19], width);
    assert.equal(levels.length, 4);
    assert.deepEqual(levels.map((l) => l.text.split(" ").at(-1)), ["2.3", "0.21", "0.2", "0.19"]);
    for (const [a, b] of levels.slice(1).map((l, i) => [levels[i], l])) assert.ok(b.at - a.at >= 14.9 && b.y > a.y, `${width}`);
    assert.deepEqual(levels.map((l) => l.joined), [false, true, false, true]);
    for (const { x, width: w, anchor, at } of levels) {
      const [from, to] = anchor === "start" ? [x, x + w] : [x - w, x];
      assert.ok(from >= box.left && to <= box.right && at <= box.panels[0].top + box.panels[0].height);
    }
    assert.ok(levels.every((l) => l.anchor === (box.narrow ? "start" : "end")));
  }
});

test("a level tells its sentence at its name and near its line, and nowhere else", () => {
  const overlay = levelled([0.2, 2.3], 1040);
  const [guess, low] = overlay.levels;
  assert.equal(levelAt(overlay, { x: guess.x - 20, y: guess.at - 4 }), guess);
  assert.equal(levelAt(overlay, { x: overlay.box.left + 5, y: low.y + 5 }).meaning, "About 0.2.");
  assert.equal(levelAt(overlay, { x: overlay.box.left + 5, y: (guess.y + low.y) / 2 }), null);
  assert.equal(levelAt(overlay, { x: overlay.box.left - 20, y: low.y }), null);
});

test("where the validation loss was lowest is marked on its curve from when it is known, until it is not", () => {
  const one = race();
  const lower = { id: "val_loss", track: "eval", field: "val_loss", label: "Validation loss", log: true };
  const { eval: track } = one.store.tracks;
  track.fields = track.fields.map((f) => f.replace("val_acc", "val_loss"));
  one.store.marks = [{ racer: "r1", step: 200, kind: "lowest", text: "lowest here", known: 300, until: 600 }];
  const charts = [one.loss, lower];
  const at = (head, shown = charts) => draw(one, { head, charts: shown, ranges: [fitRange(one.loss, [one.store]), [-1, 0.2]] }).overlay;
  assert.deepEqual([250, 300, 599, 600].map((head) => at(head).lowest.length), [0, 1, 1, 0]);
  const [ring] = at(400).lowest;
  assert.deepEqual([at(599), at(400)].map(({ lowest }) => lowest[0].text), ["lowest: 0.964 at step 200", ""], "no words where the names stand");
  const { box, marks } = at(400);
  assert.ok(Math.abs(ring.x - (box.left + 0.2 * (box.right - box.left))) < 1);
  assert.ok(ring.y > box.panels[1].top && ring.y < box.panels[1].top + box.panels[1].height);
  assert.deepEqual(marks, [], "and not on the training loss");
  assert.equal(at(400, [one.loss, accuracy]).lowest.length, 0);
  const heard = (head) => reading({ store: one.store, charts, head, axis: "steps", x: 200, reachOfMark: 5 }).marks;
  assert.deepEqual([heard(250), heard(400)], [[], ["lowest here"]]);
});

test("above guessing is said of a racer that is so now and had time to leave it", () => {
  const { store } = race();
  store.tracks.loss.row(1, "mid").fill(2.4);
  const guessing = { above: 2.35, after: 0.1, name: "guessing", words: "guessing (ln 10 = 2.30)" };
  const said = (index, head) => worseThanGuessing(store, guessing, index, head);
  assert.deepEqual([said(1, 100), said(1, 101), said(0, 101)], ["", "above guessing", ""]);
  assert.equal(worseThanGuessing(store, null, 1, 500), "");
});

test("the figure keeps its height limits and its right margin", () => {
  assert.ok(geometry(1040).height <= 565);
  assert.equal(geometry(1040, 0, 1000).height - geometry(1040).height, 100);
  assert.equal(geometry(366, 0, 2000).height, geometry(366).height);
  assert.equal(geometry(1040).width - geometry(1040).right, 110);
  assert.ok(geometry(366).narrow);
});

test("dark is told from light by the ground", () => {
  assert.deepEqual(["#0f141b", " rgb(255, 255, 255)", "#fff", "rgba(15,20,27,1)"].map(nameFor), ["dark", "light", "light", "dark"]);
});

test("a fork is drawn and named from where it leaves its parent, with a dot there", () => {
  const one = race();
  const [, second] = one.store.racers;
  Object.assign(second, { parent: 0, since: 310 });
  const whole = draw(one, { head: 1000, detail: true });
  assert.deepEqual(["mid", "raw"].map((part) => trace(whole, `run-0-r2-${part}`).x[0]), [310, 310]);
  assert.equal(trace(whole, "run-0-r1-mid").x[0], 1);
  assert.equal(Math.min(...trace(whole, "run-1-r2-mid").x), 310, "between two samples the line begins where it leaves");
  assert.ok(Math.min(...trace(whole, "run-0-r2-band").x.filter((x) => x !== null)) === 310);
  const { dots, box, labels } = whole.overlay;
  assert.equal(dots.length, 2);
  for (const dot of dots) assert.ok(Math.abs(dot.x - (box.left + 0.31 * (box.right - box.left))) < 0.5);
  assert.ok(dots[0].y > box.panels[0].top && dots[0].y < box.panels[0].top + box.panels[0].height && dots[1].y > box.panels[1].top);
  assert.equal(labels.filter((label) => label.name === "Adam").length, 2);
  const before = draw(one, { head: 309 }).overlay;
  assert.equal(before.dots.length, 0);
  assert.ok(before.labels.every((label) => label.name !== "Adam"));
});

test("a closed form is a thin dotted line up to the play head, named and read out", () => {
  const one = race();
  const expected = { ...accuracy, reference: { label: "all alike", at: [100, 200, 400, 1000], values: [0.1, 0.5, null, 2] } };
  const charts = [one.loss, expected];
  const ranges = charts.map((chart) => fitRange(chart, [one.store]));
  assert.ok(ranges[1][1] >= 2 && ranges[1][0] <= 0.1, "it has room");
  const { traces, overlay } = draw(one, { charts, ranges, head: 500 });
  const line = traces.find(({ uid }) => uid === "reference-1");
  assert.deepEqual([line.x, line.y], [[100, 200, 400], [0.1, 0.5, NaN]]);
  assert.equal(line.line.dash, "dot");
  assert.ok(overlay.labels.every(({ name }) => name !== "all alike"), "there is no value at its end");
  const named = draw(one, { charts, ranges, head: 300 }).overlay.labels.find(({ name }) => name === "all alike");
  assert.deepEqual([named.text, named.color], ["50.0%", themeOf("light", palette).secondary]);
  Object.assign(expected.reference, { label: "a name that is too long for the margin", values: [0.1, 0.5, 1, 2] });
  const sides = draw(one, { charts, ranges, head: 1000 }).overlay.labels.map(({ name, anchor }) => [name, anchor]);
  assert.deepEqual(new Set(sides.map(([, anchor]) => anchor)), new Set(["start", "end"]));
  assert.ok(sides.every(([name, anchor]) => (anchor === "end") === (name === expected.reference.label)), "the racers' names stay outside");
  Object.assign(expected.reference, { label: "all alike", values: [0.1, 0.5, null, 2] });
  const read = (x, head) => reading({ store: one.store, charts, head, axis: "steps", x, reachOfMark: 0 }).references;
  assert.deepEqual(read(250, 500), [{ name: "all alike", step: 250, values: ["–", "50.00%"] }]);
  assert.deepEqual(read(900, 500)[0].values, ["–", "–"]);
  assert.deepEqual(reading({ store: one.store, charts: [one.loss, accuracy], head: 500, axis: "steps", x: 5, reachOfMark: 0 }).references, []);
});
