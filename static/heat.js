// The heat maps of a layer: gradient, m and √v side by side at a step, one colour for each weight. What is drawn lies in
// the store, so that a drag of the play head asks nobody.

import { significant, tickText } from "./format.js";
import { put } from "./samples.js";
import { between } from "./theme.js";

const TITLES = { g: "gradient g", m: "m, memory of g", v: "√v, memory of its size" };
const NAMES = { g: "g", m: "m", v: "√v" };
const LOWEST = 24; // px of height of a map of few rows
const TALLEST = 264;

const MARKUP = `
  <p class="dl-told"></p>
  <div class="dl-maps" tabindex="0" role="group"></div>
  <p class="dl-cell" aria-live="polite"></p>`;

const MAP = `
  <figcaption></figcaption>
  <div class="dl-map"><canvas></canvas><svg aria-hidden="true"></svg></div>
  <p class="dl-none" hidden></p>
  <div class="dl-legend" aria-hidden="true"><i></i><span></span><span></span><span></span></div>`;

const SIGNED = (map) => map !== "v";
const word = (count, one, first) => (count === 1 ? `${one} ${first}` : `${one}s ${first}–${first + count - 1}`);

/** The colours of a map's 256 codes, as [r, g, b, opacity]: by the logarithm of their size within `range`. Pure. */
export function colorsOf(heat, signed, range, theme) {
  const colors = new Uint8ClampedArray(4 * 256);
  for (let code = 1; code < 256; code++) {
    const value = heat.value(code);
    const share = value === 0 ? 0 : (Math.log10(Math.abs(value)) - range[0]) / (range[1] - range[0]);
    const stops = !signed ? theme.heat.size : value < 0 ? theme.heat.negative : theme.heat.positive;
    colors.set([...between(stops, share), 255], 4 * code);
  }
  return colors;
}

/** What stands at a cell: "row 3, column 5: g 0.01, m 0.002, √v 0.03"; of a block of weights, their means. Pure. */
export function cellText(heat, row, column, sample) {
  const { rows, columns } = heat.weights(row, column);
  const down = heat.shape[0] > 1 ? `${word(rows[1] - rows[0], "row", rows[0])}, ` : "";
  const values = heat.maps.flatMap((map) => {
    const value = heat.value(heat.image(map, sample)[row * heat.columns + column]);
    return Number.isNaN(value) ? [] : [`${NAMES[map]} ${significant(value, 2)}`];
  });
  const block = (rows[1] - rows[0]) * (columns[1] - columns[0]) > 1;
  return `${down}${word(columns[1] - columns[0], "column", columns[0])}: ${block ? "mean " : ""}${values.join(", ") || "nothing"}`;
}

export class HeatMaps {
  /** `pick` is told the index of the weight that is chosen. */
  constructor(element, pick) {
    this.element = element;
    this.pick = pick;
    element.innerHTML = MARKUP;
    [this.told, this.maps, this.text] = element.children;
    this.figures = [];
    this.painted = 0;
    this.cell = null;
    const at = ({ target, clientX, clientY }) => {
      const map = target.closest?.(".dl-map");
      if (!map || !this.heat) return null;
      const { left, top, width, height } = map.getBoundingClientRect();
      const place = (share, count) => Math.min(Math.max(Math.floor(share * count), 0), count - 1);
      return [place((clientY - top) / height, this.heat.rows), place((clientX - left) / width, this.heat.columns)];
    };
    this.maps.addEventListener("pointermove", (event) => this.point(at(event)));
    this.maps.addEventListener("pointerleave", () => this.point(null));
    this.maps.addEventListener("blur", () => this.point(null));
    this.maps.addEventListener("click", (event) => this.choose(at(event)));
    this.maps.addEventListener("keydown", (event) => this.key(event));
  }

  choose(cell) {
    if (cell) this.pick(this.heat.weights(...cell).index);
  }

  key(event) {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!this.heat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter") this.choose(this.cell);
    else if (move) {
      const ends = [this.heat.rows, this.heat.columns];
      this.point(this.cell ? this.cell.map((place, i) => Math.min(Math.max(place + move[i], 0), ends[i] - 1)) : [0, 0]);
    } else return;
    event.preventDefault();
  }

  /** The cell that is meant, [row, column], or null. */
  point(cell) {
    if (String(cell) === String(this.cell)) return;
    this.cell = cell;
    this.mark();
    this.tell();
  }

  /**
   * Another store, size or theme. `state`: {heat, name, racer, missing, watched, chosen, theme, width}; `missing(map)`
   * says why there is no such map.
   */
  arrange(state) {
    const { heat } = state;
    this.element.hidden = !heat;
    if (!heat) return;
    if (heat !== this.heat) this.cell = null;
    Object.assign(this, state);
    this.sample = null;
    this.range = heat.range();
    while (this.figures.length > heat.maps.length) this.figures.pop().remove();
    while (this.figures.length < heat.maps.length) {
      const figure = document.createElement("figure");
      figure.innerHTML = MAP;
      this.figures.push(figure);
      this.maps.append(figure);
    }
    this.maps.setAttribute("aria-label",
      `Gradient, m and root of v of ${state.name}, a cell for each weight. Arrow keys move, Enter watches the weight.`);
    const gap = state.width < 560 ? 10 : 24;
    const most = (state.width - gap * (heat.maps.length - 1)) / heat.maps.length;
    const side = Math.min(most / heat.columns, 26);
    const width = Math.max(Math.min(most, 60), Math.floor(side * heat.columns));
    const height = Math.max(LOWEST, Math.min(Math.round(side * heat.rows), TALLEST));
    this.maps.style.columnGap = `${gap}px`;
    this.colors = {};
    heat.maps.forEach((map, i) => {
      const [title, frame, none, legend] = this.figures[i].children;
      title.textContent = state.width < 560 ? NAMES[map] : TITLES[map];
      frame.style.width = `${width}px`;
      legend.style.width = `${Math.max(width, Math.min(most, 150))}px`;
      frame.style.height = `${height}px`;
      const canvas = frame.firstElementChild;
      [canvas.width, canvas.height] = [heat.columns, heat.rows];
      frame.lastElementChild.setAttribute("viewBox", `0 0 ${heat.columns} ${heat.rows}`);
      const lacks = heat.held > 0 && heat.image(map, 0).every((code) => code === 0);
      none.textContent = state.missing(map);
      frame.hidden = legend.hidden = lacks;
      none.hidden = !lacks;
      if (!this.range) return;
      const signed = SIGNED(map);
      this.colors[map] = colorsOf(heat, signed, this.range, state.theme);
      const { negative, positive, size } = state.theme.heat;
      const stops = signed ? [...negative.toReversed(), ...positive.slice(1)] : size;
      legend.firstElementChild.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
      const [low, high] = this.range.map((power) => tickText(Number(`1e${power}`)));
      const labels = signed ? [`≤−${high}`, `±${low}`, `≥${high}`] : [`≤${low}`, "", `≥${high}`];
      labels.forEach((text, j) => (legend.children[j + 1].textContent = text));
    });
    this.mark();
  }

  /** The maps at the last sample by `step`; what is drawn already stays. */
  show(step) {
    const { heat } = this;
    if (!heat || this.element.hidden) return;
    const sample = heat.sample(step);
    if (sample === this.sample) return;
    this.sample = sample;
    heat.maps.forEach((map, i) => {
      const canvas = this.figures[i].querySelector("canvas");
      const pen = canvas.getContext("2d");
      if (sample < 0 || !this.range) return pen.clearRect(0, 0, canvas.width, canvas.height);
      const picture = pen.createImageData(heat.columns, heat.rows);
      const colors = this.colors[map];
      heat.image(map, sample).forEach((code, cell) => picture.data.set(colors.subarray(4 * code, 4 * code + 4), 4 * cell));
      pen.putImageData(picture, 0, 0);
    });
    this.painted++;
    this.tell();
  }

  /** Rings around the weights that are watched, and the cell that is meant. */
  mark() {
    const { heat, watched, chosen, cell } = this;
    const ring = ([row, column], kind) => `<rect class="${kind}" x="${column}" y="${row}" width="1" height="1"/>`;
    const rings = watched.flatMap((index) => {
      const place = heat.cellOf(index);
      return place ? [ring(place, index === chosen ? "dl-watched dl-chosen" : "dl-watched")] : [];
    });
    const content = rings.join("") + (cell ? ring(cell, "dl-meant") : "");
    for (const figure of this.figures) figure.querySelector("svg").innerHTML = content;
  }

  tell() {
    const { heat, sample, cell, name, racer } = this;
    const step = sample >= 0 ? heat.at[sample].toLocaleString("en-US") : null;
    const each = heat.block[0] * heat.block[1] > 1 ? `a cell is ${heat.block.join(" × ")} weights` : "a cell is a weight";
    put(this.told, `${name} ${step ? `at step ${step}` : "before the first step"}, ${racer}; ${each}, log scale`);
    put(this.text, cell && sample >= 0 ? cellText(heat, ...cell, sample) : "Point at a cell to read it; click to watch that weight.");
  }
}
