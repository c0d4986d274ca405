// From a store, a play head and a theme to what is drawn: Plotly traces and layout, and in pixels the overlay
// (cursor, names at the line ends, reference levels, marks). Pure: no DOM, no clock.
//
// Plotly draws lines, bands, grid and ticks; the overlay is ours because Plotly's annotations and shapes cost
// more than the lines do, and because names have to be moved apart in pixels.

import { linearTicks, logTicks, percent, quantile, roundOut, significant, spread, tickText } from "./format.js";
import { countUpTo, valueAt } from "./store.js";
import { DASHES, faded } from "./theme.js";

const POINTS = 400; // a line while it streams
export const FONT = '"Source Sans", "Source Sans Pro", sans-serif';

/** The loss, described like the charts that can stand below it. */
export function lossChart(data) {
  return { id: "loss", track: "loss", field: "", label: data.loss_label, log: data.loss_log, levels: data.levels, capped: true };
}

const SPARE = 900; // px of a window's height to which the usual figure belongs

/**
 * Where the two plots lie in a figure of this width, in pixels. `labels`: width of the widest name and value;
 * `window`: height of the browser's window, if known: the plots take what is spare, or leave what is lacking.
 */
export function geometry(width, labels = 0, window = 0) {
  const narrow = width < 640;
  const left = narrow ? 46 : 52;
  const right = width - (narrow ? 18 : Math.min(Math.max(labels + 14, 110), 220));
  const spare = narrow || !window ? 0 : Math.min(Math.max(window - SPARE, -140), 400);
  const [above, upper, between, lower, below] = narrow
    ? [24, 264, 42, 118, 26]
    : [26, 314 + Math.round(0.65 * spare), 46, 148 + Math.round(0.35 * spare), 26];
  return {
    width, narrow, left, right,
    height: above + upper + between + lower + below,
    panels: [{ top: above, height: upper }, { top: above + upper + between, height: lower }],
    lineGap: narrow ? 15 : 18,
  };
}

/** What each racer is called next to its line: its note tells apart those that share a label. */
export function namesOf(racers) {
  return racers.map(({ label, note }) =>
    racers.filter((r) => r.label === label).length > 1 && note ? `${label} ${note}` : label,
  );
}

export function valueText(chart, value, digits = 3) {
  return chart.percent ? percent(value, digits - 2) : significant(value, digits);
}

// ---------------------------------------------------------------- ranges

const scaleOf = (chart) => (chart.log ? Math.log10 : (v) => v);

/** What a chart's quantity would be by a closed form, as a line, or null. */
function referenceOf({ reference }) {
  if (!reference) return null;
  const [at, mid] = [reference.at, reference.values].map((list) => Float64Array.from(list, (v) => v ?? NaN));
  return { at, mid, held: at.length };
}

/** All finite numbers (positive ones on a log axis) of `row` among its first `end`, from `begin` on. */
function usable(chart, row, begin, end) {
  return row ? row.subarray(begin, end).filter((v) => Number.isFinite(v) && (!chart.log || v > 0)) : new Float32Array(0);
}

/** The y range that fits what is held, in axis coordinates (log10 on a log axis); null: nothing to fit yet. */
export function fitRange(chart, stores) {
  const lines = stores.flatMap((store) =>
    store.racers.map((_, i) => ({
      line: store.line(i, chart.track, chart.field),
      gone: store.gone(i),
      warm: 0.05 * store.steps,
    })),
  ).filter(({ line }) => line);
  const expected = referenceOf(chart);
  if (lines.length && expected) lines.push({ line: expected, gone: false, warm: 0 });
  const whole = lines.map(({ line }) => usable(chart, line.mid, 0, line.held)).filter((v) => v.length);
  if (!whole.length) return null;
  const standing = lines.every((l) => l.gone) ? lines : lines.filter((l) => !l.gone);
  if (chart.percent) return fitPercent(chart, standing);

  // A run that diverges leaves through the top instead of flattening the others.
  const level = chart.levels?.[0]?.value ?? -Infinity;
  const cap = chart.capped ? 12 * Math.max(level, ...whole.map((v) => v[0])) : Infinity;
  let low = level > -Infinity ? level : Infinity;
  let high = level;
  for (const { line } of chart.capped ? lines : standing) {
    const mid = usable(chart, line.mid, 0, line.held);
    // One seed's dip for a moment is no reason to squeeze all lines: the band's lowest 2% may leave the chart.
    low = Math.min(low, mid.reduce((a, b) => Math.min(a, b), Infinity), quantile(usable(chart, line.lo, 0, line.held), 0.02) || Infinity);
    for (const row of [mid, usable(chart, line.hi, 0, line.held)]) high = row.reduce((a, b) => Math.max(a, b), high);
  }
  if (!(low <= high)) return null;
  high = Math.min(high, cap);
  if (!chart.log && low >= 0 && low < 0.4 * high) low = 0;
  const to = scaleOf(chart);
  let [bottom, top] = [to(low), to(high)];
  const least = chart.log ? 0.5 : Math.abs(top) * 0.02 || 1;
  if (top - bottom < least) [bottom, top] = [(top + bottom - least) / 2, (top + bottom + least) / 2];
  const pad = 0.05 * (top - bottom);
  return [low === 0 && !chart.log ? 0 : bottom - pad, top + pad];
}

/** Accuracies: the climb of the first 5% of the run may start below the chart, what follows may not. */
function fitPercent(chart, lines) {
  const lows = lines.map(({ line, warm }) => {
    const begin = countUpTo(line.at, warm);
    const settled = usable(chart, line.mid, begin, line.held);
    return quantile(settled.length ? settled : usable(chart, line.mid, 0, line.held), 0.05);
  });
  const highs = lines.map(({ line }) => usable(chart, line.hi ?? line.mid, 0, line.held).reduce((a, b) => Math.max(a, b), 0));
  const low = Math.min(...lows.filter(Number.isFinite));
  const high = Math.max(...highs);
  const [bottom, top] = roundOut(low, high, high - low > 0.4 ? 0.1 : high - low > 0.04 ? 0.05 : 0.01);
  return [bottom, Math.max(top, bottom + 0.01) + 0.02 * (top - bottom)];
}

/** How far the x axis reaches. Evaluations yet to come are foretold at the pace so far, and the ghost keeps its
 *  room, so that the axis stands still. */
export function extent(store, axis, ghost = null) {
  if (axis === "steps") return [0, store.steps];
  const ends = [store, ghost].filter(Boolean).flatMap((one) =>
    one.racers.map((_, i) => one.place(i, axis)(one.steps)).filter(Number.isFinite));
  return [0, Math.max(...ends, 1e-9)];
}

// ---------------------------------------------------------------- traces

/** Indices begin..end-1, every `stride`-th (counted from 0, so that they stay put as the line grows) and the last. */
function sampled(begin, end, stride) {
  const indices = [];
  for (let i = Math.ceil(begin / stride) * stride; i < end; i += stride) indices.push(i);
  if (end > begin && indices.at(-1) !== end - 1) indices.push(end - 1);
  return indices;
}

/** The lowest and the highest sample of each bin of `width`, in order: spikes survive. */
function extremes(row, begin, end, width) {
  const indices = [];
  for (let bin = Math.floor(begin / width) * width; bin < end; bin += width) {
    let low = -1;
    let high = -1;
    for (let i = Math.max(bin, begin); i < Math.min(bin + width, end); i++) {
      // A NaN (no comparison with it holds) stays only in a bin without numbers.
      if (low < 0 || row[i] < row[low] || Number.isNaN(row[low])) low = i;
      if (high < 0 || row[i] > row[high] || Number.isNaN(row[high])) high = i;
    }
    indices.push(Math.min(low, high));
    if (low !== high) indices.push(Math.max(low, high));
  }
  return indices;
}

/** The outline of lo..hi: one closed polygon for each stretch without gaps, separated by null. */
export function outline(line, indices, place) {
  const x = [];
  const y = [];
  let stretch = [];
  const close = () => {
    if (stretch.length > 1) {
      for (const i of stretch) x.push(place(line.at[i])), y.push(line.hi[i]);
      for (const i of stretch.reverse()) x.push(place(line.at[i])), y.push(line.lo[i]);
      x.push(null), y.push(null);
    }
    stretch = [];
  };
  for (const i of indices) {
    if (Number.isFinite(line.lo[i]) && Number.isFinite(line.hi[i])) stretch.push(i);
    else close();
  }
  close();
  return { x, y };
}

/** Where a step of a racer lies on the axis; what came before a fork left its parent lies where it left. */
function placeFrom(store, index, axis) {
  const place = store.place(index, axis);
  const { since = 0 } = store.racers[index];
  return (step) => place(Math.max(step, since));
}

/** Traces of one store in one chart. `head`: last step shown; `detail`: all points instead of at most POINTS. */
function tracesOf({ store, chart, panel, axis, window, head, detail, theme, ghost }) {
  const below = [];
  const above = [];
  store.racers.forEach((racer, index) => {
    const line = store.line(index, chart.track, chart.field);
    if (!line) return;
    const place = placeFrom(store, index, axis);
    // One sample beyond each side of the zoomed part, so that lines reach its edges.
    const [left, right] = window.map((x) => store.stepAt(index, axis, x));
    // A fork has no past of its own.
    const begin = Math.max(countUpTo(line.at, Math.max(left, racer.since ?? 0)) - 1, 0);
    const visible = Math.min(countUpTo(line.at, right) + 1, line.at.length);
    const end = Math.min(countUpTo(line.at, head), line.held, visible);
    const stride = detail ? 1 : Math.max(1, Math.ceil((visible - begin) / POINTS));
    const indices = sampled(begin, end, stride);
    const color = theme.colors[racer.color];
    const trace = (part, points, style) => ({
      type: "scatter", mode: "lines", hoverinfo: "skip", xaxis: "x", yaxis: panel ? "y2" : "y",
      uid: `${ghost ? "ghost" : "run"}-${panel}-${racer.id}-${part}`, ...points, ...style,
    });
    const points = (row, chosen) => ({ x: chosen.map((i) => place(line.at[i])), y: chosen.map((i) => row[i]) });
    if (ghost) {
      below.push(trace("mid", points(line.mid, indices), { line: { color, width: 1.2 }, opacity: 0.35 }));
      return;
    }
    if (line.lo && line.hi) {
      below.push(trace("band", outline(line, indices, place), {
        fill: "toself", fillcolor: faded(color, 0.16), line: { width: 0 },
      }));
    }
    if (line.raw) {
      const chosen = detail ? indices : extremes(line.raw, begin, end, stride * 2);
      const style = chart.id === "loss" ? { line: { color, width: 1 }, opacity: 0.2 } : { line: { color, width: 1.5, dash: "dot" }, opacity: 0.6 };
      below.push(trace("raw", points(line.raw, chosen), style));
    }
    above.push(trace("mid", points(line.mid, indices), { line: { color, width: 2.5, dash: DASHES[racer.color % 8] } }));
  });
  const expected = ghost ? null : referenceOf(chart);
  if (expected) {
    const place = store.place(0, axis);
    const held = Array.from({ length: countUpTo(expected.at, head) }, (_, i) => i);
    above.push({
      type: "scatter", mode: "lines", hoverinfo: "skip", xaxis: "x", yaxis: panel ? "y2" : "y", uid: `reference-${panel}`,
      x: held.map((i) => place(expected.at[i])), y: held.map((i) => expected.mid[i]),
      line: { color: theme.secondary, width: 1.5, dash: "dot" },
    });
  }
  return [...below, ...above];
}

// ---------------------------------------------------------------- overlay

/** Index of the first sample at which the line is gone: above `top`, or not a number after it was one. */
function exitOf(line, end, top) {
  for (let i = 0; i < end; i++) if (line.mid[i] > top || (i && Number.isNaN(line.mid[i]))) return i;
  return -1;
}

/** "diverged at step 41" */
export function failureText({ kind, step }) {
  return `${kind === "blown" ? "blown up" : kind} at step ${step.toLocaleString("en-US")}`;
}

/** Names and values at the line ends of one chart, moved apart; a line that failed is named where it left. */
function labelsOf({ store, chart, panel, axis, head, window, theme, box, px, py, top, measure }) {
  const { top: upper, height } = box.panels[panel];
  const names = namesOf(store.racers);
  const wanted = [];
  store.racers.forEach((racer, index) => {
    const line = store.line(index, chart.track, chart.field);
    if (!line || head < (racer.since ?? 0)) return;
    const place = store.place(index, axis);
    const end = Math.min(head, store.stepAt(index, axis, window[1]) + 1e-6 || head); // rounding must not lose the last step
    const value = valueAt(line, line.mid, end);
    const failed = store.failure(racer.id, head);
    const gone = Boolean(failed) && !(value <= top);
    const label = (step, y, text) => {
      const x = px(place(step));
      if (!(x >= box.left - 1)) return;
      wanted.push({ x, y, text, gone, name: names[index], color: theme.colors[racer.color], width: measure(names[index], text) });
    };
    if (!gone) {
      const y = py(panel, value);
      // A frozen racer far outside the range of the others would only seem to be at its edge.
      if (Number.isFinite(value) && !(failed && !(y <= upper + height))) label(end, y, valueText(chart, value));
    } else if (chart.id === "loss") {
      const exit = exitOf(line, Math.min(countUpTo(line.at, head), line.held), top);
      const before = exit > 0 && Number.isNaN(line.mid[exit]) ? line.mid[exit - 1] : Infinity;
      const step = exit < 0 ? failed.step : line.at[exit];
      if (px(place(step)) <= box.right) label(step, Number.isFinite(before) ? py(panel, before) : upper + 9, failureText(failed));
    }
  });
  const expected = referenceOf(chart);
  const last = expected ? Math.min(countUpTo(expected.at, Math.min(head, store.stepAt(0, axis, window[1]) + 1e-6 || head)), expected.held) - 1 : -1;
  if (last >= 0 && Number.isFinite(expected.mid[last]) && px(store.place(0, axis)(expected.at[last])) >= box.left) {
    const [name, value] = [chart.reference.label, valueText(chart, expected.mid[last])];
    wanted.push({
      x: px(store.place(0, axis)(expected.at[last])), y: py(panel, expected.mid[last]), text: value, gone: false, expected: true, name,
      color: theme.secondary, width: measure(name, value),
    });
  }
  const clamp = (y) => Math.min(Math.max(y, upper + 4), upper + height - 4);
  const cursor = px(head);
  const near = (label) => axis !== "steps" || !label.gone || Math.abs(label.x - cursor) < 180;
  const widest = Math.max(0, ...wanted.filter((l) => !l.gone && !l.expected).map((l) => l.width));
  const placed = [];
  for (const group of [wanted.filter(near), wanted.filter((l) => !near(l))]) {
    const gap = Math.min(box.lineGap, height / group.length);
    // Names that would cover most of the lines say less than the lines; the readout and the cards have the values.
    if (gap < 13 || (box.narrow && group.length * gap > 0.6 * height)) continue;
    const ys = spread(group.map((l) => clamp(l.y)), gap, upper + 6, upper + height - 4);
    group.forEach((label, i) => {
      const x = Math.min(Math.max(label.x, box.left), box.right);
      // Names at the cursor stand on one side of it, all of them; what is said of a closed form may be too long for it.
      const alone = label.gone || label.expected || axis !== "steps";
      const room = x + 10 + (alone ? label.width : widest) <= box.width;
      placed.push({ ...label, x: x + (room ? 1 : -1) * (label.gone ? 13 : 9), y: ys[i], anchor: room ? "start" : "end" });
    });
  }
  return placed;
}

/** The marks that are known at the play head: what is told in hindsight comes after its own step, and may go again. */
function known({ marks }, head) {
  return marks.filter((m) => (m.known ?? m.step) <= head && head < (m.until ?? Infinity));
}

function marksOf({ store, axis, head, theme, box, px, py }) {
  return known(store, head).filter((m) => m.kind !== "lowest").flatMap((mark) => {
    const index = store.racers.findIndex((r) => r.id === mark.racer);
    const line = index < 0 ? null : store.line(index, "loss", "");
    if (!line) return [];
    const x = px(store.place(index, axis)(mark.step));
    if (!(x >= box.left - 1 && x <= box.right + 1)) return [];
    const floor = box.panels[0].top + box.panels[0].height;
    const color = theme.colors[store.racers[index].color];
    if (mark.kind === "decay" || mark.kind === "reset") return [{ kind: mark.kind, x, y: floor, color }];
    let last = Math.min(countUpTo(line.at, mark.step), line.held) - 1;
    while (last > 0 && !Number.isFinite(line.mid[last])) last--;
    const y = last >= 0 && Number.isFinite(line.mid[last]) ? py(0, line.mid[last]) : box.panels[0].top;
    return [{ kind: "failure", x, y: Math.min(Math.max(y, box.panels[0].top + 6), floor - 6), color }];
  });
}

/** Where held-out losses were lowest: a ring on the curve, and words below it, moved apart, where no name stands. */
function lowestOf({ store, charts, axis, head, theme, box, px, py, measure }) {
  const panel = charts.findIndex((chart) => chart.id === "val_loss");
  if (panel < 0) return [];
  const { top, height } = box.panels[panel];
  const found = known(store, head).filter((m) => m.kind === "lowest").flatMap((mark) => {
    const index = store.racers.findIndex((r) => r.id === mark.racer);
    const line = index < 0 ? null : store.line(index, "eval", "val_loss");
    if (!line) return [];
    const value = valueAt(line, line.mid, mark.step);
    const x = px(store.place(index, axis)(mark.step));
    const y = py(panel, value);
    if (!(x >= box.left - 1 && x <= box.right + 1 && y >= top && y <= top + height)) return [];
    const text = `lowest: ${valueText(charts[panel], value)} at step ${mark.step.toLocaleString("en-US")}`;
    const width = small(measure, text);
    const names = Math.min(box.right, px(store.place(index, axis)(head)));
    const anchor = x + 8 + width <= names ? "start" : "end";
    const fits = anchor === "start" || x - 8 - width >= box.left;
    return [{ x, y, text: fits ? text : "", width, anchor, color: theme.colors[store.racers[index].color] }];
  });
  const ys = spread(found.map(({ y }) => y + 18), SMALL_GAP, top + 12, top + height - 4);
  return found.map((mark, i) => ({ ...mark, at: ys[i] }));
}

const SMALL_GAP = 15; // px from one small text to the next
const small = (measure, text) => (measure("", text) * 13) / 15;

/**
 * The levels of one chart: a line each, and its name beside it, moved apart where many are close together; a name that
 * does not stand at its own line is `joined` to it. They stand at the right, in a narrow figure at the left, where no
 * racer is named when a race is over.
 */
function levelsOf(chart, panel, range, box, py, measure) {
  const { top, height } = box.panels[panel];
  const found = (chart.levels ?? []).flatMap(({ name, value, meaning }) => {
    const at = scaleOf(chart)(value);
    if (!(at >= range[0] && at <= range[1])) return [];
    const y = py(panel, value);
    return [{ y, text: name, meaning }];
  }).sort((a, b) => a.y - b.y);
  // Above its line, in the order of the lines. A narrow figure has its title over the first of them.
  const low = box.narrow ? top + 11 : top - 4;
  const ys = spread(found.map(({ y }) => y - 5), Math.min(SMALL_GAP, height / found.length), low, top + height - 3);
  return found.map(({ y, text, meaning }, i) => {
    const joined = Math.min(Math.abs(ys[i] - (y - 5)), Math.abs(ys[i] - (y + 14))) > 5;
    const inset = joined ? 18 : 2;
    const width = small(measure, text);
    const x = box.narrow ? box.left + inset : box.right - inset;
    return { panel, y, text, meaning, at: ys[i], x, joined, width, anchor: box.narrow ? "start" : "end" };
  });
}

const REACH = 6; // px from a level's line at which it is meant

/** The level that is meant at a place of the charts: the one whose name is there, or else the nearest line. */
export function levelAt({ levels, box }, { x, y }) {
  const named = levels.find((level) => {
    const [from, to] = level.anchor === "start" ? [level.x, level.x + level.width] : [level.x - level.width, level.x];
    return x >= from - 4 && x <= to + 4 && y >= level.at - 13 && y <= level.at + 4;
  });
  if (named) return named;
  const inside = x >= box.left && x <= box.right;
  const near = levels.filter((level) => inside && Math.abs(level.y - y) <= REACH);
  return near.reduce((best, level) => (best && Math.abs(best.y - y) <= Math.abs(level.y - y) ? best : level), null);
}

/** "above guessing" of a racer whose loss, at the play head, is worse than that although it had time to leave it. */
export function worseThanGuessing(store, guessing, index, head) {
  if (!guessing || head <= guessing.after * store.steps) return "";
  const line = store.line(index, "loss", "");
  return valueAt(line, line.mid, head) > guessing.above ? `above ${guessing.name}` : "";
}

// ---------------------------------------------------------------- the whole

function xTicks([low, high], axis, box) {
  const values = linearTicks(low, high, Math.max(2, Math.round((box.right - box.left) / (box.narrow ? 110 : 170))));
  if (axis !== "seconds") return { values, texts: values.map(tickText) };
  const milli = high < 1;
  return { values, texts: values.map((v) => (milli ? `${tickText(1000 * v)} ms` : `${tickText(v)} s`)) };
}

function yAxis(chart, range, theme, box, panel) {
  const { top, height } = box.panels[panel];
  const most = Math.max(3, Math.floor(height / 34));
  const values = chart.log ? logTicks(10 ** range[0], 10 ** range[1], most) : linearTicks(range[0], range[1], most);
  const between = values.length > 1 ? values[1] - values[0] : 1;
  return {
    type: chart.log ? "log" : "linear", range, fixedrange: true, anchor: "x",
    domain: [1 - (top + height - box.panels[0].top) / plotHeight(box), 1 - (top - box.panels[0].top) / plotHeight(box)],
    tickvals: values, ticktext: values.map((v) => (chart.percent ? percent(v, between < 0.0099 ? 1 : 0) : tickText(v))),
    gridcolor: theme.grid, zeroline: false, ticks: "",
  };
}

const plotHeight = (box) => box.panels[1].top + box.panels[1].height - box.panels[0].top;

/**
 * Everything to draw.
 *   store, ghost     the race, and the one before (or null)
 *   charts           [loss, the lower one]; ranges: their y ranges in axis coordinates
 *   head, axis       play head (a step), "steps" | "evaluations" | "seconds"
 *   zoom             [low, high] on the x axis, or null
 *   detail           every point instead of at most 400 a line
 *   measure          (name, text) => width in pixels of a label
 */
export function scene({ store, ghost, charts, ranges, head, axis, zoom, detail, theme, box, measure }) {
  const window = zoom ?? extent(store, axis, ghost);
  const px = (x) => box.left + ((x - window[0]) / (window[1] - window[0])) * (box.right - box.left);
  const py = (panel, value) => {
    const [low, high] = ranges[panel];
    const { top, height } = box.panels[panel];
    return top + height * (1 - (scaleOf(charts[panel])(value) - low) / (high - low));
  };
  const traces = charts.flatMap((chart, panel) => {
    const common = { chart, panel, axis, window, theme };
    return [
      ...(ghost ? tracesOf({ ...common, store: ghost, head: Infinity, detail: false, ghost: true }) : []),
      ...tracesOf({ ...common, store, head, detail }),
    ];
  });
  const ticks = xTicks(window, axis, box);
  const layout = {
    width: box.width, height: box.height, autosize: false, showlegend: false, hovermode: false, dragmode: false,
    margin: { l: box.left, r: box.width - box.right, t: box.panels[0].top, b: box.height - box.panels[0].top - plotHeight(box), pad: 0 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: FONT, size: 14, color: theme.secondary },
    xaxis: { type: "linear", range: window, anchor: "y2", fixedrange: true, tickvals: ticks.values, ticktext: ticks.texts,
             tickangle: 0, gridcolor: theme.grid, zeroline: false, ticks: "" },
    yaxis: yAxis(charts[0], ranges[0], theme, box, 0),
    yaxis2: yAxis(charts[1], ranges[1], theme, box, 1),
  };
  const labels = charts.flatMap((chart, panel) => {
    const top = chart.log ? 10 ** ranges[panel][1] : ranges[panel][1];
    return head > 0 ? labelsOf({ store, chart, panel, axis, head, window, theme, box, px, py, top, measure }) : [];
  });
  const dots = axis === "steps" ? [] : charts.flatMap((chart, panel) => store.racers.flatMap((racer, index) => {
    const line = store.line(index, chart.track, chart.field);
    const y = line ? py(panel, valueAt(line, line.mid, head)) : NaN;
    const x = px(store.place(index, axis)(head));
    const { top, height } = box.panels[panel];
    const inside = x >= box.left && x <= box.right && y >= top && y <= top + height;
    return inside ? [{ x, y, color: theme.colors[racer.color] }] : [];
  }));
  // Where a fork leaves its parent.
  const leaves = charts.flatMap((chart, panel) => store.racers.flatMap((racer, index) => {
    const line = racer.since === undefined || head < racer.since ? null : store.line(index, chart.track, chart.field);
    const y = line ? py(panel, valueAt(line, line.mid, racer.since)) : NaN;
    return [{ x: px(store.place(index, axis)(racer.since)), y, panel, color: theme.colors[racer.color] }];
  })).filter(({ x, y, panel }) => x >= box.left && x <= box.right && y >= box.panels[panel].top && y <= box.panels[panel].top + box.panels[panel].height);
  const cursor = px(head);
  return {
    traces, layout, window,
    overlay: {
      box, labels, dots: [...dots, ...leaves],
      cursor: axis === "steps" && cursor >= box.left && cursor <= box.right ? cursor : null,
      marks: marksOf({ store, axis, head, theme, box, px, py }),
      lowest: lowestOf({ store, charts, axis, head, theme, box, px, py, measure }),
      levels: charts.flatMap((chart, panel) => levelsOf(chart, panel, ranges[panel], box, py, measure)),
    },
  };
}

/**
 * What the readout says at `x` of the x axis, as far as the head has come: each racer's values at its own step there, and
 * what closed forms expect.
 */
export function reading({ store, charts, head, axis, x, reachOfMark }) {
  const names = namesOf(store.racers);
  const rows = store.racers.map((racer, index) => {
    const step = Math.round(store.stepAt(index, axis, x));
    const values = charts.map((chart) => {
      const line = step <= head && store.line(index, chart.track, chart.field);
      const value = line ? valueAt(line, line.mid, step) : NaN;
      const failed = chart.id === "loss" && !Number.isFinite(value) && store.failure(racer.id, Math.min(step, head));
      return failed ? (failed.kind === "blown" ? "blown up" : failed.kind) : valueText(chart, value, 4);
    });
    return { name: names[index], color: racer.color, step, values };
  });
  const step = Math.round(store.stepAt(0, axis, x));
  const references = charts.filter((chart) => chart.reference).map((chart) => {
    const line = referenceOf(chart);
    const value = step <= head ? valueAt(line, line.mid, step) : NaN;
    return { name: chart.reference.label, step, values: charts.map((one) => (one === chart ? valueText(chart, value, 4) : "–")) };
  });
  const marks = known(store, head).filter((mark) => {
    const row = rows[store.racers.findIndex((r) => r.id === mark.racer)];
    return row && Math.abs(mark.step - row.step) <= reachOfMark;
  });
  return { rows, references, marks: marks.map((m) => m.text) };
}
