// What the browser holds of the lens race: the rule's own numbers by layer, of single weights, and a layer's heat maps.
// Pure: no DOM, no clock.

import { countUpTo, Track } from "./store.js";

const LINES = ["norms", "rate", "watch"];

/** The heat maps of one layer and one racer: at each sampled step a byte for every map and cell. */
export class Heat {
  constructor({ at, cells, maps }, code) {
    Object.assign(this, code, { at: Float64Array.from(at), cells, maps, held: 0 });
    this.codes = new Uint8Array(at.length * maps.length * cells);
    this.counts = new Uint32Array(256); // how often each code occurs
  }

  merge({ from, to, b64 }) {
    if (from > this.held || to <= this.held || to > this.at.length) return false;
    const bytes = Uint8Array.from(atob(b64), (c) => c.charCodeAt(0));
    const size = this.maps.length * this.cells;
    if (bytes.length !== (to - from) * size) {
      throw new Error(`heat maps ${from}..${to} hold ${bytes.length} codes, not ${(to - from) * size}`);
    }
    for (const code of bytes.subarray((this.held - from) * size)) this.counts[code]++;
    this.codes.set(bytes, from * size);
    this.held = to;
    return true;
  }

  /** Index of the last sample held at or before `step`; -1: none. */
  sample(step) {
    return Math.min(countUpTo(this.at, step), this.held) - 1;
  }

  /** The codes of a map at a sample. */
  image(map, sample) {
    const first = (sample * this.maps.length + this.maps.indexOf(map)) * this.cells;
    return this.codes.subarray(first, first + this.cells);
  }

  /** The number that a code stands for, to within 16%; NaN: there is none. */
  value(code) {
    if (code === 0) return NaN;
    const level = code - this.zero;
    return level === 0 ? 0 : Math.sign(level) * this.smallest * 10 ** (((Math.abs(level) - 1) * this.decades) / (this.levels - 1));
  }

  /**
   * The sizes between which colours tell numbers apart, as powers of ten: from what a tenth of all that is held is below
   * to what one in two hundred is above, but no more than five.
   */
  range() {
    const sizes = Array.from({ length: this.levels }, (_, i) => i + 1).map((level) =>
      ({ level, count: this.counts[this.zero + level] + (this.counts[this.zero - level] ?? 0) }));
    const total = sizes.reduce((sum, { count }) => sum + count, 0);
    if (!total) return null;
    const [least, most] = [0.1, 0.995].map((share) => {
      let below = 0;
      const { level } = sizes.find(({ count }) => (below += count) > share * total) ?? sizes.at(-1);
      return Math.log10(this.value(this.zero + level));
    });
    const top = Math.ceil(most - 0.05);
    return [Math.min(Math.max(Math.floor(least + 0.05), top - 5), top - 1), top];
  }

  /** The cell [row, column] of a weight, by its column among all weights; null: it lies in another layer. */
  cellOf(index) {
    const place = index - this.first;
    const [height, width] = this.shape;
    if (place < 0 || place >= height * width) return null;
    return [Math.floor(Math.floor(place / width) / this.block[0]), Math.floor((place % width) / this.block[1])];
  }

  /** The first weight of a cell: its row and column in the layer, those after the cell's last, and its index. */
  weights(row, column) {
    const [height, width] = this.shape;
    const [top, left] = [row * this.block[0], column * this.block[1]];
    return {
      rows: [top, Math.min(top + this.block[0], height)], columns: [left, Math.min(left + this.block[1], width)],
      index: this.first + top * width + left,
    };
  }
}

export class LensStore {
  constructor({ run, about }) {
    this.run = run;
    this.about = about;
    const tracks = about.tracks;
    this.tracks = Object.fromEntries(LINES.filter((name) => tracks[name]?.fields.length).map((name) =>
      [name, new Track({ ...tracks[name], coarse: tracks[name].fields }, about.racers.length)]));
    if (tracks.heat) this.tracks.heat = new Heat(tracks.heat, about.heat);
  }

  /** Takes in the blocks of one message; true if they brought anything new. */
  merge(blocks = []) {
    let news = false;
    for (const { track, from, to, b64 } of blocks) {
      const block = track === "heat" ? { from, to, b64 } : { from, to, b64: "", coarse: b64 };
      news = this.tracks[track]?.merge(block) || news;
    }
    return news;
  }

  /** What to tell the server we hold. */
  get have() {
    return Object.fromEntries(Object.entries(this.tracks).map(([name, track]) => [name, track.held]));
  }

  get any() {
    return Object.values(this.tracks).some((track) => track.held);
  }

  get complete() {
    return Object.values(this.tracks).every((track) => track.held === track.at.length);
  }

  /** {at, held, values} of a field of the racer at `index`, or null. */
  line(index, name, field) {
    const track = this.tracks[name];
    const values = track?.row(index, field);
    return values ? { at: track.at, held: track.held, values } : null;
  }

  /** The place of a layer among those whose norms are recorded: the last one holds all that have none of their own. */
  layer(name) {
    const { layers } = this.about;
    const found = layers.findIndex((layer) => layer.name === name);
    return found < 0 ? layers.length - 1 : found;
  }
}
