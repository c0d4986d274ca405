// From a lens store to a grid of small charts: what stands in each, their places, and the one Plotly figure of them all.
// Pure: no DOM, no clock.

import { FONT, outline } from "./figure.js";
import { linearTicks, logTicks, tickText } from "./format.js";
import { countUpTo, valueAt } from "./store.js";
import { DASHES, faded } from "./theme.js";

const DECADES = 9; // a log axis shows at most so many below its largest number

// Each: a short title and what it is, the memory that a rule without it lacks; one weight's may have a log axis, one
// that is not drawn about 0, or the width of two panels.
const LAYER = [
  { id: "g", title: "gradient g" },
  { id: "m", title: "m", what: "memory of g", memory: "m" },
  { id: "v", title: "√v", what: "memory of its size", memory: "v" },
  { id: "step", title: "step taken" },
  { id: "m_hat", title: "m̂", what: "bias corrected", memory: "m" },
  { id: "root_v_hat", title: "√v̂", what: "bias corrected", memory: "v" },
  { id: "apart", title: "apart from the twin", what: "weights" },
];
const WEIGHT = [
  { id: "g", title: "gradient g" },
  { id: "m_hat", title: "m̂", what: "what the step goes along", memory: "m" },
  { id: "root_v_hat", title: "√v̂", what: "what divides it", memory: "v", log: true },
  { id: "step", title: "step taken" },
  { id: "p", title: "the weight", free: true, span: 2 },
];

/** Why nobody has a memory, "m" or "v", in the words that the charts above have for it. */
export function lacking(memory, charts) {
  const told = charts.find((chart) => chart.id === memory)?.missing;
  return told || `There is no ${memory} of one number for each weight.`;
}

/** The lines of the racers for a field: those that have a number somewhere in what is held. */
function linesOf(store, track, field, scale = 1) {
  return store.about.racers.flatMap((racer, index) => {
    const line = store.line(index, track, field);
    if (!line?.values.subarray(0, line.held).some(Number.isFinite)) return [];
    // A fork has no past of its own.
    const begin = racer.since ? Math.max(countUpTo(line.at, racer.since) - 1, 0) : 0;
    return [{ ...line, racer: index, begin, values: scale === 1 ? line.values : line.values.map((v) => scale * v) }];
  });
}

function panel(kind, lines, held, charts) {
  const why = kind.memory ? lacking(kind.memory, charts) : kind.id === "apart" ? "There is no twin to compare with." : "";
  return { ...kind, lines, missing: held && !lines.length ? why : "" };
}

/** The panels of a layer: norms, or root mean squares (norm / √size), and the effective learning rates of all weights. */
export function layerPanels(store, layer, { rms, pictured, charts }) {
  const index = store.layer(layer);
  const scale = rms ? 1 / Math.sqrt(store.about.layers[index].size) : 1;
  const held = store.tracks.norms?.held ?? 0;
  const panels = LAYER.map((kind) =>
    panel({ ...kind, log: true }, linesOf(store, "norms", `${kind.id}.${index}`, scale), held, charts));
  const part = (name) => store.line(pictured, "rate", name);
  const bands = [["q05", "q95"], ["q25", "q75"]].map(([low, high]) => ({ racer: pictured, lo: part(low), hi: part(high) }));
  panels.push({
    id: "rate", title: "effective learning rate", note: "band 5–95%", log: true, missing: "",
    lines: linesOf(store, "rate", "q50"), bands: bands.filter((band) => band.lo && band.hi),
  });
  return panels;
}

/** The panels of a single weight, by its column. */
export function weightPanels(store, column, { charts }) {
  const held = store.tracks.watch?.held ?? 0;
  return WEIGHT.map((kind) => panel({ log: false, ...kind }, linesOf(store, "watch", `${kind.id}.${column}`), held, charts));
}

/** The value of a racer's line at a step; NaN: there is none. */
export function valueOf({ lines }, racer, step) {
  const line = lines.find((one) => one.racer === racer);
  return line ? valueAt(line, line.values, step) : NaN;
}

// ---------------------------------------------------------------- places

const HEAD = 44; // px above a plot: its title, and the values at the cursor
const FOOT = 22; // px below it: the steps
const LEFT = 48;
const RIGHT = 16; // half of the last step's number

/** Where the panels lie in a figure of this width, in pixels: {width, height, cells: [{left, top, width, height}]}. */
export function placesOf(panels, width) {
  const most = width < 560 ? 2 : width < 800 ? 3 : panels.some((one) => one.span) ? 3 : 4;
  const plot = width < 560 ? 96 : 116;
  const gap = width < 560 ? 8 : 20;
  const column = (width + gap) / most;
  let [row, place] = [0, 0];
  const cells = panels.map(({ span = 1 }) => {
    const wide = Math.min(span, most);
    if (place + wide > most) [row, place] = [row + 1, 0];
    const cell = {
      left: Math.round(place * column) + LEFT, top: row * (HEAD + plot + FOOT) + HEAD,
      width: Math.round(wide * column - gap) - LEFT - RIGHT, height: plot,
    };
    place += wide;
    return cell;
  });
  return { width, height: panels.length && (row + 1) * (HEAD + plot + FOOT), cells, head: HEAD, left: LEFT };
}

// ---------------------------------------------------------------- the figure

/** The y range of a panel that has room for all of its numbers, in axis coordinates (log10 on a log axis), or null. */
export function rangeOf({ lines, bands = [], log, free }) {
  let [low, high] = [Infinity, -Infinity];
  const edges = bands.flatMap(({ lo, hi }) => [lo, hi]);
  const rows = [...lines, ...edges].map(({ values, begin = 0, held }) => values.subarray(begin, held));
  for (const row of rows) {
    for (const v of row) {
      if (!Number.isFinite(v) || (log && v <= 0)) continue;
      if (v < low) low = v;
      if (v > high) high = v;
    }
  }
  if (!(low <= high)) return null;
  if (!log && !free) {
    const most = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return [-1.08 * most, 1.08 * most];
  }
  if (log) [low, high] = [Math.max(Math.log10(low), Math.log10(high) - DECADES), Math.log10(high)];
  const least = log ? 0.6 : 0.02 * Math.max(Math.abs(low), Math.abs(high)) || 1;
  if (high - low < least) [low, high] = [(low + high - least) / 2, (low + high + least) / 2];
  const pad = 0.06 * (high - low);
  return [low - pad, high + pad];
}

function ticksOf({ log }, range, height) {
  const most = Math.max(3, Math.floor(height / 26));
  const values = log ? logTicks(10 ** range[0], 10 ** range[1], most) : linearTicks(...range, most);
  return { tickvals: values, ticktext: values.map(tickText) };
}

/** One Plotly figure of all panels. `window`: the steps shown; `theme`: colours, as for the charts above. */
export function figureOf({ panels, places, store, window, theme }) {
  const traces = [];
  const layout = {
    width: places.width, height: places.height, autosize: false, showlegend: false, hovermode: false, dragmode: false,
    margin: { l: 0, r: 0, t: 0, b: 0, pad: 0 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: FONT, size: 13, color: theme.secondary },
  };
  panels.forEach((one, i) => {
    const suffix = i ? i + 1 : "";
    const { left, top, width, height } = places.cells[i];
    const range = rangeOf(one);
    const steps = linearTicks(...window, width < 150 ? 2 : 3);
    const axes = { xaxis: `x${suffix}`, yaxis: `y${suffix}` };
    layout[`xaxis${suffix}`] = {
      type: "linear", range: window, anchor: axes.yaxis, fixedrange: true, zeroline: false, ticks: "", tickangle: 0, showgrid: false,
      domain: [left / places.width, (left + width) / places.width], tickvals: range ? steps : [], ticktext: steps.map(tickText),
    };
    layout[`yaxis${suffix}`] = {
      type: one.log ? "log" : "linear", range: range ?? [0, 1], anchor: axes.xaxis, fixedrange: true, ticks: "", gridcolor: theme.grid,
      zeroline: !one.log && !one.free, zerolinecolor: theme.hairline, zerolinewidth: 1,
      domain: [1 - (top + height) / places.height, 1 - top / places.height],
      ...(range ? ticksOf(one, range, height) : { tickvals: [] }),
    };
    const trace = (part, style) => traces.push({ type: "scatter", mode: "lines", hoverinfo: "skip", ...axes, uid: `${one.id}-${part}`, ...style });
    const colorOf = (racer) => theme.colors[store.about.racers[racer].color];
    (one.bands ?? []).forEach(({ racer, lo, hi }, band) => {
      const held = Array.from({ length: lo.held }, (_, sample) => sample);
      const shape = outline({ at: lo.at, lo: lo.values, hi: hi.values }, held, (step) => step);
      trace(`band-${band}`, { ...shape, fill: "toself", fillcolor: faded(colorOf(racer), 0.14), line: { width: 0 } });
    });
    // The trunk last, on top of those it is compared with.
    for (const { racer, at, values, begin, held } of [...one.lines].reverse()) {
      const { color, since = 0 } = store.about.racers[racer];
      trace(racer, {
        x: Array.from(at.subarray(begin, held), (step) => Math.max(step, since)),
        y: Array.from(values.subarray(begin, held), (v) => (Number.isFinite(v) ? v : null)),
        line: { color: theme.colors[color], width: 2, dash: DASHES[color % 8] },
      });
    }
  });
  return { traces, layout };
}

