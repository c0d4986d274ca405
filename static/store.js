// What the browser holds of one race: decodes the blocks, merges them, answers "which value at which step".
// Pure: no DOM, no clock.

const TRACKS = ["loss", "eval", "probe"];

/** Little-endian float32 (as every browser's machine is) from base64. */
export function decode(b64) {
  const text = atob(b64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Float32Array(bytes.buffer);
}

/** The upper halves of float32 numbers from base64: their size to within 0.4%, which is enough for a band. */
export function decodeCoarse(b64) {
  const halves = new Uint16Array(new Uint8Array([...atob(b64)].map((c) => c.charCodeAt(0))).buffer);
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}

/** Number of entries of the ascending `list` that are <= x. */
export function countUpTo(list, x) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** y at x on the polyline through (xs[i], ys[i]), i < count, from the origin; beyond its end it goes on at the mean slope. */
function along(xs, ys, count, x) {
  const i = countUpTo(xs.subarray(0, count), x);
  if (i === count) return count && xs[count - 1] > 0 ? (ys[count - 1] * x) / xs[count - 1] : x;
  const [x0, y0] = i ? [xs[i - 1], ys[i - 1]] : [0, 0];
  return xs[i] > x0 ? y0 + ((ys[i] - y0) * (x - x0)) / (xs[i] - x0) : ys[i];
}

/** The steps of a track: as a list, or evenly spaced ones, of which the last may be out of line (a race's end). */
function stepsOf(at) {
  if (Array.isArray(at)) return Float64Array.from(at);
  const steps = Float64Array.from({ length: at.count }, (_, i) => at.first + i * at.stride);
  steps[at.count - 1] = at.last;
  return steps;
}

/** One sampling grid and its values: a row of numbers for every racer and field. */
export class Track {
  constructor({ at, fields, coarse = [] }, racers) {
    this.at = stepsOf(at);
    this.fields = fields;
    this.coarse = fields.map((field) => coarse.includes(field));
    this.rows = Array.from({ length: racers * fields.length }, () => new Float32Array(this.at.length).fill(NaN));
    this.held = 0;
  }

  /** Takes a block if it continues or overlaps what is held; one that starts past it is left for the next pull. */
  merge({ from, to, b64, coarse = "" }) {
    if (from > this.held || to <= this.held || to > this.at.length) return false;
    const [exact, rough] = [decode(b64), decodeCoarse(coarse)];
    const count = to - from;
    if (exact.length + rough.length !== count * this.rows.length) {
      throw new Error(`block ${from}..${to} holds ${exact.length + rough.length} numbers, not ${count * this.rows.length}`);
    }
    const read = { exact: 0, rough: 0 };
    this.rows.forEach((row, r) => {
      const kind = this.coarse[r % this.fields.length] ? "rough" : "exact";
      const values = kind === "rough" ? rough : exact;
      row.set(values.subarray(read[kind], (read[kind] += count)), from);
    });
    this.held = to;
    return true;
  }

  row(racer, field) {
    const f = this.fields.indexOf(field);
    return f < 0 ? null : this.rows[racer * this.fields.length + f];
  }
}

export class Store {
  constructor(data) {
    this.run = data.run;
    this.generation = data.generation;
    this.steps = data.steps;
    this.trained = 0;
    this.verdicts = [];
    this.texts = [];
    this.tracks = Object.fromEntries(
      TRACKS.filter((t) => data.tracks[t]).map((t) => [t, new Track(data.tracks[t], data.racers.length)]),
    );
    this.merge(data);
  }

  /** Takes in one message of this run; true if it brought anything new to draw. */
  merge(data) {
    this.racers = data.racers;
    this.marks = data.marks ?? [];
    this.seconds = data.seconds ?? null;
    let news = data.trained !== this.trained;
    this.trained = data.trained;
    for (const block of data.blocks ?? []) news = this.tracks[block.track].merge(block) || news;
    for (const kind of ["verdicts", "texts"]) {
      const held = this[kind];
      this[kind] = continued(held, data[kind]);
      news ||= this[kind] !== held;
    }
    return news;
  }

  /** What to tell the server we hold. */
  get have() {
    const held = Object.fromEntries(TRACKS.map((t) => [t, this.tracks[t]?.held ?? 0]));
    return { ...held, verdict: this.verdicts.length, text: this.texts.length };
  }

  get complete() {
    return this.trained >= this.steps && Object.values(this.tracks).every((t) => t.held === t.at.length);
  }

  /** The last step that can be shown. */
  get reach() {
    if (this.complete) return this.steps;
    const { at, held } = this.tracks.loss;
    return held ? at[held - 1] : 0;
  }

  /** {at, held, mid, lo, hi, raw} of a quantity ("" is the loss itself) of the racer at `index`. */
  line(index, trackName, quantity) {
    const track = this.tracks[trackName];
    if (!track) return null;
    const row = (part) => track.row(index, quantity ? `${quantity}.${part}` : part);
    const mid = row("mid");
    return mid && { at: track.at, held: track.held, mid, lo: row("lo"), hi: row("hi"), raw: row("raw") };
  }

  verdict(step) {
    return this.verdicts.findLast((v) => v.step <= step);
  }

  /** The last text of the racer at `index` by `step`, {step, text, ended}, or null; `ended`: it writes no more. */
  text(index, step) {
    const told = this.texts.slice(0, countUpTo(this.texts.map((t) => t.step), step));
    const last = told.findLast((t) => t.texts[index] !== null);
    return last ? { step: last.step, text: last.texts[index], ended: last !== told.at(-1) } : null;
  }

  /** The mark that ended or spoilt this racer's run by `step`: the latest one. */
  failure(id, step) {
    return this.marks.findLast((m) => m.racer === id && m.step <= step && (m.kind === "diverged" || m.kind === "blown"));
  }

  /** Whether this racer's line has ended for good: it failed, and its loss is no number any more. */
  gone(index) {
    const { at, held } = this.tracks.loss;
    const mid = this.tracks.loss.row(index, "mid");
    return held > 0 && !Number.isFinite(mid[held - 1]) && Boolean(this.failure(this.racers[index].id, at[held - 1]));
  }

  /** Maps a step of the racer at `index` to its place on an axis of steps, evaluations or seconds. */
  place(index, axis) {
    if (axis === "seconds") {
      const each = this.seconds?.[this.racers[index].id] ?? NaN;
      return (step) => step * each;
    }
    const probe = this.tracks.probe;
    const evaluations = axis === "evaluations" && evaluationsRow(probe, index);
    if (!evaluations) return (step) => step;
    const known = knownCount(evaluations, probe.held);
    return (step) => along(probe.at, evaluations, known, step);
  }

  /** The inverse of `place`. */
  stepAt(index, axis, x) {
    const probe = this.tracks.probe;
    const evaluations = axis === "evaluations" && evaluationsRow(probe, index);
    if (evaluations) return along(evaluations, probe.at, knownCount(evaluations, probe.held), x);
    return x / this.place(index, axis)(1);
  }
}

/** A list with what a message tells of it, `items` from place `from` on: nothing past a gap, and none taken away. */
function continued(held, { from = 0, items = [] } = {}) {
  return from <= held.length && from + items.length > held.length ? [...held.slice(0, from), ...items] : held;
}

function evaluationsRow(probe, index) {
  return probe ? probe.row(index, "evaluations") : null;
}

/** A racer that has diverged evaluates no more: its row ends in NaN. */
function knownCount(row, held) {
  let count = held;
  while (count && !Number.isFinite(row[count - 1])) count--;
  return count;
}

/** Value of `row` at the nearest sample at or before `step` (NaN: none yet, or nothing there). */
export function valueAt(line, row, step) {
  const i = Math.min(countUpTo(line.at, step), line.held) - 1;
  return i < 0 ? NaN : row[i];
}
