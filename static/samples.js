// What the racers' networks write, side by side: under the charts, for problems whose networks write.
//
// A text may hold anything, since it is made of the words somebody brought: it is put in as text, never as markup.

import { significant } from "./format.js";
import { namesOf } from "./figure.js";
import { valueAt } from "./store.js";

export const ROOM = 320; // px of the window's height that the panel takes on a usual screen
const EARLY = 20; // steps after which nearly nothing is learned yet: what is written then is there to compare with

const MARKUP = `
  <h3 title="One token after another is drawn from what the network holds likely. The random numbers are the same for all racers and at every step: texts differ by what was learned."></h3>
  <div class="dl-texts"></div>`;

const COLUMN = `
  <h4><i aria-hidden="true"></i><b></b> <span></span></h4>
  <p class="dl-text" role="group" tabindex="0"></p>
  <p class="dl-mark"></p>
  <div class="dl-early"><p></p><p class="dl-text"></p></div>`;

const after = (step) => (step === 0 ? "before the first step" : `after ${step.toLocaleString("en-US")} ${step === 1 ? "step" : "steps"}`);

/**
 * What each racer of the store had written at its own step of `steps`: {name, color, loss, text, step, mark, early}.
 * `step` is when the text was written, and `mark` says why nothing has been written since; `early` is one of the
 * first texts, {step, text}. Text and early are null where there is none yet. Pure.
 */
export function written(store, steps) {
  const names = namesOf(store.racers);
  return store.racers.map((racer, index) => {
    const line = store.line(index, "loss", "");
    const last = store.text(index, steps[index]);
    const failure = last?.ended && store.failure(racer.id, steps[index]);
    return {
      name: names[index], color: racer.color, loss: valueAt(line, line.mid, steps[index]),
      text: last?.text ?? null, step: last?.step ?? null,
      mark: last?.ended ? `${failure ? "diverged" : "stopped"}: its last text, ${after(last.step)}` : "",
      early: store.text(index, EARLY),
    };
  });
}

/** "What each writes after 1,084 steps", or, where they differ in it, at the cursor. */
export function titleOf(rows) {
  const steps = [...new Set(rows.filter((row) => row.step !== null && !row.mark).map((row) => row.step))];
  return `What each writes ${steps.length === 1 ? after(steps[0]) : "at the cursor"}`;
}

export class Samples {
  constructor(element) {
    this.element = element;
    element.setAttribute("role", "region");
    element.setAttribute("aria-label", "What each racer's network writes");
    element.innerHTML = MARKUP;
    this.title = element.querySelector("h3");
    this.texts = element.querySelector(".dl-texts");
    this.columns = [];
  }

  /** Shows what `written` found; null hides all. Touches the DOM only where it differs. */
  show(rows, colors, seeds) {
    this.element.hidden = !rows;
    if (!rows) return;
    const note = seeds > 1 ? "same dice for all; first seed" : "same dice for all";
    put(this.title, `${titleOf(rows)} (${note})`);
    while (this.columns.length > rows.length) this.columns.pop().remove();
    while (this.columns.length < rows.length) {
      const column = document.createElement("section");
      column.innerHTML = COLUMN;
      this.columns.push(column);
      this.texts.append(column);
    }
    const oneStep = new Set(rows.filter((row) => !row.mark).map((row) => row.step)).size <= 1;
    rows.forEach((row, i) => {
      const column = this.columns[i];
      const [dot, name, loss] = column.querySelectorAll("h4 > *");
      const [text, mark, when, early] = column.querySelectorAll("p");
      if (dot.style.background !== colors[row.color]) dot.style.background = colors[row.color];
      put(name, row.name);
      put(loss, `${significant(row.loss)}${oneStep || row.step === null ? "" : `, ${after(row.step)}`}`);
      put(text, row.text ?? "…");
      text.setAttribute("aria-label", `${row.name} writes`);
      put(mark, row.mark);
      put(when, row.early ? `${after(row.early.step)}:` : "");
      put(early, row.early?.text ?? "");
    });
  }
}

/** Another text, where it differs. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
