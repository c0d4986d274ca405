// Paints the overlay of figure.js as SVG over the Plotly figure, and the readout that follows the pointer.

import { DASHES } from "./theme.js";

const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

function tag(name, attributes, content = "") {
  const list = Object.entries(attributes).map(([key, value]) => ` ${key}="${escaped(value)}"`).join("");
  return `<${name}${list}>${content}</${name}>`;
}

const round = (x) => Math.round(x * 10) / 10;

/** A vertical line through both plots. */
function upright(x, box, kind) {
  return box.panels.map(({ top, height }) =>
    tag("line", { class: kind, x1: round(x), x2: round(x), y1: top, y2: top + height })).join("");
}

const MARKS = {
  decay: ({ x, y, color }) => tag("line", { x1: x, x2: x, y1: y - 9, y2: y, stroke: color, "stroke-width": 2 }),
  reset: ({ x, y, color }) => tag("path", { d: `M${x} ${y - 10}l5 9h-10z`, fill: color }),
  failure: ({ x, y, color }) => tag("path", { d: `M${x - 5} ${y - 5}l10 10m0 -10l-10 10`, stroke: color, "stroke-width": 2.5, fill: "none" }),
};

/** Replaces the content of the svg. Some forty small elements: cheaper to write anew than to keep in step. */
export function paintOverlay(svg, { box, cursor, labels, dots, levels, marks, lowest }) {
  const parts = levels.map(({ y }) => tag("line", { class: "dl-level", x1: box.left, x2: box.right, y1: round(y), y2: round(y) }));
  parts.push(...levels.filter(({ joined }) => joined).map(({ x, y, at, anchor }) => {
    const out = anchor === "start" ? -1 : 1;
    return tag("path", { class: "dl-join", d: `M${round(x + 3 * out)} ${round(at - 4)}L${round(x + 16 * out)} ${round(y)}` });
  }));
  parts.push(...levels.map(({ x, at, text, anchor }) =>
    tag("text", { class: "dl-level", x: round(x), y: round(at), "text-anchor": anchor }, escaped(text))));
  if (cursor !== null) parts.push(upright(cursor, box, "dl-cursor"));
  parts.push(...marks.map((mark) => MARKS[mark.kind]({ ...mark, x: round(mark.x), y: round(mark.y) })));
  parts.push(...dots.map(({ x, y, color }) => tag("circle", { cx: round(x), cy: round(y), r: 4, fill: color })));
  parts.push(...lowest.map(({ x, y, at, text, color, anchor }) =>
    tag("circle", { class: "dl-lowest", cx: round(x), cy: round(y), r: 5, stroke: color }) +
    tag("text", { class: "dl-level dl-lowest", x: round(x + (anchor === "start" ? 8 : -8)), y: round(at), "text-anchor": anchor, style: `fill: ${color}` },
      escaped(text))));
  // A name that stands on the lines gets a ground of its own.
  parts.push(...labels.filter((l) => l.anchor === "end").map(({ x, y, width }) =>
    tag("rect", { class: "dl-plate", x: round(x - width - 3), y: round(y - 8), width: round(width + 6), height: 16, rx: 4 })));
  parts.push(...labels.map(({ x, y, anchor, name, text, color }) =>
    tag("text", { class: "dl-label", x: round(x), y: round(y + 5), "text-anchor": anchor, fill: color },
      `${tag("tspan", { class: "dl-name" }, escaped(name))} ${escaped(text)}`)));
  svg.setAttribute("width", box.width);
  svg.setAttribute("height", box.height);
  svg.innerHTML = parts.join("");
}

/** The second thin line, at the hovered place, or the stretch being dragged for a zoom. */
export function paintPointer(svg, box, { hover, drag }) {
  svg.setAttribute("width", box.width);
  svg.setAttribute("height", box.height);
  if (drag) {
    const [from, to] = drag;
    svg.innerHTML = box.panels.map(({ top, height }) =>
      tag("rect", { class: "dl-drag", x: Math.min(from, to), width: Math.abs(to - from), y: top, height })).join("");
  } else svg.innerHTML = hover === null ? "" : upright(hover, box, "dl-hover");
}

/** Fills the readout and places it beside the pointer, inside the charts. */
export function paintReadout(element, { title, heads, rows, references, marks, level, colors, axis }, pointer, box) {
  const swatch = ({ color }) => {
    // What a closed form expects has no racer's colour.
    if (color === undefined) return '<svg width="20" height="8" aria-hidden="true"><line class="dl-expected" x1="0" x2="20" y1="4" y2="4"/></svg>';
    const dash = { solid: "none", dot: "3 3", dash: "7 4", dashdot: "7 3 2 3" }[DASHES[color]] ?? DASHES[color].replaceAll(/px/g, "").replaceAll(",", " ");
    return `<svg width="20" height="8" aria-hidden="true">${tag("line", {
      x1: 0, x2: 20, y1: 4, y2: 4, stroke: colors[color], "stroke-width": 3, "stroke-dasharray": dash })}</svg>`;
  };
  const cells = (row) => row.values.map((v) => `<td>${escaped(v)}</td>`).join("");
  // On an axis that is not steps each racer is at a step of its own there.
  const there = (row) => row.values.some((value) => value !== "–");
  const step = (row) => (axis === "steps" ? "" : `<td>${there(row) ? row.step.toLocaleString("en-US") : "–"}</td>`);
  element.innerHTML = `<strong>${escaped(title)}</strong><table><thead><tr><td></td>
    ${axis === "steps" ? "" : "<th scope=col>step</th>"}${heads.map((h) => `<th scope="col">${escaped(h)}</th>`).join("")}</tr></thead><tbody>
    ${[...rows, ...references].map((row) => `<tr><th scope="row">${swatch(row)}${escaped(row.name)}</th>${step(row)}${cells(row)}</tr>`).join("")}</tbody></table>
    ${marks.map((text) => `<p>${escaped(text)}</p>`).join("")}
    ${level ? `<p><b>${escaped(level.text)}</b><br>${escaped(level.meaning)}</p>` : ""}`;
  element.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = element;
  const fitsRight = pointer.x + 16 + width <= box.width;
  const fitsLeft = pointer.x - 16 - width >= 0;
  const left = fitsRight ? pointer.x + 16 : pointer.x - 16 - width;
  // On a phone neither side has room: then below or above the finger.
  const below = pointer.y < box.height / 2;
  const top = fitsRight || fitsLeft ? pointer.y - height / 2 : below ? pointer.y + 28 : pointer.y - 28 - height;
  element.style.left = `${Math.max(0, Math.min(left, box.width - width))}px`;
  element.style.top = `${Math.max(0, Math.min(top, box.height - height))}px`;
}
