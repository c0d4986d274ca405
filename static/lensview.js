// The lens under the transport: the network to choose a layer from, small charts of what the rule computed there or of
// one weight, and the layer's heat maps, all at the play head of the charts above.
//
//   lens.js    what is held       panels.js  the small charts       heat.js  the heat maps

import { namesOf } from "./figure.js";
import { significant } from "./format.js";
import { HeatMaps } from "./heat.js";
import { LensStore } from "./lens.js";
import { figureOf, lacking, layerPanels, placesOf, valueOf, weightPanels } from "./panels.js";
import { put } from "./samples.js";

export const ROOM = 100; // px of the window's height that the charts above leave to it on a usual screen
const PACE = 250; // ms between two drawings of the small charts, at least
const MOST = 8; // weights that can be watched
const VIEWS = [["layer", "this layer"], ["weight", "one weight"]];
const SIZES = [["rms", "RMS"], ["norm", "norm"]];

const segments = (kind, label, choices) =>
  `<div class="dl-segments dl-${kind}" role="group" aria-label="${label}">${choices.map(([value, text]) =>
    `<button type="button" data-${kind}="${value}" aria-pressed="false">${text}</button>`).join("")}</div>`;

const MARKUP = `
  <div class="dl-lens-head"><h3></h3><p></p></div>
  <div class="dl-lens-bar">
    <div class="dl-net" role="group" aria-label="Layer shown"></div>
    ${segments("view", "What is shown", VIEWS)}
    ${segments("size", "Size of a layer's numbers", SIZES)}
    <div class="dl-chips"></div>
    <div class="dl-picks">
      <button type="button" class="dl-text-button" data-add="largest">largest gradient here</button>
      <button type="button" class="dl-text-button" data-add="random">a random one</button>
    </div>
    <label class="dl-pictured">heat maps of <select aria-label="Racer whose heat maps and band of rates are shown"></select></label>
  </div>
  <div class="dl-panels" role="img">
    <div class="dl-panel-plot"></div>
    <svg class="dl-panel-cursor" aria-hidden="true"></svg>
    <div class="dl-panel-names"></div>
  </div>
  <div class="dl-heat"></div>`;

const drawn = (panel, racer) => panel.lines.some((line) => line.racer === racer);

export class LensView {
  /** `pick` is told what the viewer wants to see, as Python is to hear it. */
  constructor(element, pick) {
    this.element = element;
    this.pick = pick;
    element.setAttribute("role", "region");
    element.setAttribute("aria-label", "Inside the optimizer");
    element.innerHTML = MARKUP;
    const find = (selector) => element.querySelector(selector);
    this.parts = {
      title: find("h3"), note: find(".dl-lens-head p"), net: find(".dl-net"), size: find(".dl-size"), chips: find(".dl-chips"),
      picks: find(".dl-picks"), pictured: find(".dl-pictured"), select: find("select"), panels: find(".dl-panels"), plot: find(".dl-panel-plot"),
      cursor: find(".dl-panel-cursor"), names: find(".dl-panel-names"),
    };
    this.heat = new HeatMaps(find(".dl-heat"), (index) => this.watch(index));
    this.store = null; // the race shown
    this.next = null; // the race asked for, until it has something to show
    this.view = "layer";
    this.rms = true;
    this.near = true;
    this.draws = 0;
    this.drawnAt = -Infinity;
    this.listen();
  }

  listen() {
    const { element, parts } = this;
    element.addEventListener("click", ({ target }) => {
      const { layer, view, size, chosen, drop, add } = target.closest("button")?.dataset ?? {};
      if (layer && layer !== this.layer) {
        this.layer = layer;
        this.pick({ layer });
      }
      if (view) this.view = view;
      if (size) this.rms = size === "rms";
      if (chosen) this.chosen = Number(chosen);
      if (drop) this.pick({ drop: Number(drop) });
      if (add === "random") this.pick({ random: true });
      if (add === "largest") this.pick({ largest: { step: Math.max(Math.floor(this.head), 1), racer: this.pictured } });
      this.stale = true;
    });
    parts.select.addEventListener("change", () => this.pick({ pictured: Number(parts.select.value) }));
    // What is out of sight is not drawn.
    this.sight = new IntersectionObserver(([entry]) => (this.near = entry.isIntersecting), { rootMargin: "200px" });
    this.sight.observe(element);
  }

  /** A weight of the heat map: shown at once where it is watched already. */
  watch(index) {
    this.view = "weight";
    this.stale = true;
    if (this.store.about.coordinates.some((one) => one.index === index)) this.chosen = index;
    else this.pick({ coordinate: index });
  }

  // -------------------------------------------------------------- messages

  /**
   * Takes in what a message says of the lens; `data` is all that is known of the race above. "news", "" for none, or
   * "unknown": it speaks of a race whose description is lacking, which has to be asked for.
   */
  take(lens, data) {
    this.element.hidden = !lens;
    if (!lens) {
      [this.store, this.next, this.run] = [null, null, ""];
      return "";
    }
    this.run = lens.run;
    this.problem = lens.problem ?? "";
    Object.assign(this, { steps: data.steps, charts: data.charts });
    const known = [this.store, this.next].find((store) => store?.run === lens.run);
    // Without a race there is only a sentence that says why.
    if (!this.store) put(this.parts.note, this.problem);
    if (!known && !lens.about) {
      this.stale = true;
      return lens.run ? "unknown" : "";
    }
    const store = known ?? new LensStore(lens);
    const news = store.merge(lens.blocks);
    if (store === this.store) this.next = null;
    else if (store.any || !this.store) this.turn(store);
    else this.next = store;
    this.stale ||= news || !known;
    return news ? "news" : "";
  }

  /** Another race is shown. A weight that has just come is the one to look at. */
  turn(store) {
    const old = this.store?.about.coordinates.map((one) => one.index) ?? [];
    const { coordinates, layer, layers } = store.about;
    const come = coordinates.filter((one) => !old.includes(one.index));
    if (this.store && come.length === 1) this.chosen = come[0].index;
    else if (!coordinates.some((one) => one.index === this.chosen)) this.chosen = coordinates[0]?.index;
    [this.store, this.next, this.layer] = [store, null, layer || layers[0].name];
    this.stale = true;
  }

  /** What to tell the server we hold. */
  get told() {
    const store = [this.store, this.next].find((one) => one?.run === this.run);
    return { run: this.run ?? "", have: store?.have ?? {} };
  }

  /** Whether there is more to be asked for. */
  get wanting() {
    if (this.element.hidden || !this.run) return false;
    const store = this.next ?? this.store;
    return store?.run !== this.run || !store.complete;
  }

  /** The racer and the weight that a look at a step is meant to be of, as far as they are known here. */
  get meant() {
    if (!this.store) return {};
    return { racer: this.pictured, ...(this.chosen === undefined ? {} : { coordinate: this.chosen }) };
  }

  get pictured() {
    return this.store?.about.heat?.racer ?? 0;
  }

  /** What tests and measurements read: the race shown, drawings of the small charts, and of the heat maps. */
  get counts() {
    return { lens: this.store?.run ?? "", panels: this.draws, heats: this.heat.painted };
  }

  // -------------------------------------------------------------- drawing

  /** Another width, theme, or stretch of steps in sight. */
  suit(state) {
    if (["width", "theme", "zoom"].every((name) => state[name] === this[name])) return;
    Object.assign(this, state);
    this.stale = true;
  }

  /** Each frame: the cursor and the heat maps at the play head, and now and then, where it is `free`, the small charts. */
  frame(head, now, Plotly, free) {
    this.head = head;
    if (this.element.hidden || !this.near || !this.store || !this.theme) return;
    if (free && this.stale && !this.drawing && now - this.drawnAt >= PACE) this.draw(now, Plotly);
    if (!this.places) return;
    this.heat.show(head);
    if (head !== this.cursorAt) this.point(head);
  }

  async draw(now, Plotly) {
    this.drawing = true;
    this.drawnAt = now;
    this.stale = false;
    const { store, view } = this;
    const watched = store.about.coordinates.some((one) => one.index === this.chosen);
    const { charts, rms, pictured } = this;
    this.panels = view === "layer" ? layerPanels(store, this.layer, { rms, pictured, charts })
      : watched ? weightPanels(store, this.chosen, { charts }) : [];
    this.places = placesOf(this.panels, this.width);
    this.window = this.zoom ?? [0, this.steps];
    this.arrange();
    const { panels, places, window, theme } = this;
    if (!panels.length) return (this.drawing = false);
    const { traces, layout } = figureOf({ panels, places, store, window, theme });
    try {
      await Plotly.react(this.parts.plot, traces, layout, { staticPlot: true, displayModeBar: false, responsive: false });
      this.draws++;
    } finally {
      this.drawing = false;
    }
  }

  /** The HTML around the small charts, and the heat maps. */
  arrange() {
    const { store, parts, view, places, theme } = this;
    const { about } = store;
    const waiting = this.run !== store.run;
    const weight = about.coordinates.find((one) => one.index === this.chosen);
    this.element.classList.toggle("dl-waiting", waiting);
    const shown = view === "layer" ? `layer ${this.layer}` : weight ? `weight ${weight.name}` : "one weight";
    put(parts.title, `Inside the optimizer: ${shown}`);
    const what = view === "layer" ? "what the rule computed, on the first seed; log scale" : "what the rule computed, on the first seed";
    const none = "No weight is watched yet: click one in the heat maps, or take the one with the largest gradient.";
    put(parts.note, this.problem || (view === "layer" || weight ? what : none));
    parts.note.classList.toggle("dl-problem", Boolean(this.problem));
    this.network();
    this.choices(weight);
    for (const button of this.element.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === view));
    for (const button of parts.size.children) button.setAttribute("aria-pressed", String((button.dataset.size === "rms") === this.rms));
    parts.size.hidden = view !== "layer";
    parts.chips.hidden = parts.picks.hidden = view !== "weight";
    parts.panels.hidden = !this.panels.length;
    parts.panels.style.height = `${places.height}px`;
    parts.panels.setAttribute("aria-label", `${this.panels.map((one) => one.title).join(", ")} over the steps`);
    this.label();
    const racers = namesOf(about.racers);
    this.heat.arrange({
      heat: store.tracks.heat, name: about.layer, racer: racers[this.pictured], missing: (map) => (map === "g" ? "" : lacking(map, this.charts)),
      watched: about.coordinates.map((one) => one.index), chosen: view === "weight" ? this.chosen : null, theme, width: this.width,
    });
  }

  /** The small drawing of the network: boxes of units, and between them the tensors that lead from one to the next. */
  network() {
    const { net } = this.parts;
    const { drawing, layers } = this.store.about;
    const key = JSON.stringify([drawing, layers]);
    if (key !== this.netKey) {
      this.netKey = key;
      const row = (names) => {
        const box = document.createElement("span");
        box.className = "dl-way";
        box.append(...names.map((name) => {
          const button = document.createElement("button");
          const layer = layers.find((one) => one.name === name);
          const shape = layer?.shape.length ? `${layer.shape.join(" × ")}, ` : "";
          const size = layer ? `: ${shape}${layer.size.toLocaleString("en-US")} weights` : "";
          Object.assign(button, { type: "button", textContent: name, title: name + size });
          button.dataset.layer = name;
          return button;
        }));
        return box;
      };
      const units = (label) => {
        const box = document.createElement("span");
        box.className = "dl-units";
        box.textContent = label;
        return box;
      };
      const drawn = drawing.flatMap(({ label, tensors }) => [...(tensors.length ? [row(tensors)] : []), units(label)]);
      net.replaceChildren(...(drawn.length ? drawn : [row(layers.map((one) => one.name))]));
      net.hidden = layers.length < 2;
    }
    for (const button of net.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.layer === this.layer));
  }

  /** Weights that are watched, and racers that can be pictured. */
  choices(weight) {
    const { chips, picks, select, pictured } = this.parts;
    const { coordinates, racers, heat } = this.store.about;
    const key = JSON.stringify([coordinates, weight?.index]);
    if (key !== this.chipsKey) {
      this.chipsKey = key;
      chips.replaceChildren(...coordinates.map(({ index, name }) => {
        const chip = document.createElement("span");
        chip.className = "dl-chip";
        chip.innerHTML = '<button type="button"></button><button type="button">×</button>';
        const [show, drop] = chip.children;
        show.textContent = name;
        drop.title = drop.ariaLabel = `Stop watching ${name}`;
        show.dataset.chosen = drop.dataset.drop = index;
        show.setAttribute("aria-pressed", String(index === weight?.index));
        return chip;
      }));
    }
    for (const button of picks.children) {
      button.disabled = coordinates.length >= MOST;
      button.title = button.disabled ? `At most ${MOST} weights can be watched: take one away first.` : "Watch one more weight";
    }
    const names = namesOf(racers);
    if (names.join("\n") !== this.optionsKey) {
      this.optionsKey = names.join("\n");
      select.replaceChildren(...names.map((name, i) => new Option(name, i)));
    }
    select.value = this.pictured;
    pictured.hidden = !heat;
  }

  /** The titles over the small charts; their values at the cursor are put in by `point`. */
  label() {
    const { names, cursor } = this.parts;
    const { racers } = this.store.about;
    const named = [0, 1, this.pictured].filter((racer, i, all) => racer < racers.length && all.indexOf(racer) === i);
    names.replaceChildren(...this.panels.map((one, i) => {
      const { left, top, width, height } = this.places.cells[i];
      const box = document.createElement("div");
      box.style.cssText = `left: ${left}px; top: ${top - this.places.head}px; width: ${width + 4}px; height: ${this.places.head + height}px`;
      const title = document.createElement("p");
      title.append(Object.assign(document.createElement("b"), { textContent: one.title }), one.what && width > 170 ? ` ${one.what}` : "");
      const values = document.createElement("p");
      values.append(...named.map((racer) => {
        const value = document.createElement("span");
        value.style.color = this.theme.colors[racers[racer].color];
        value.title = namesOf(racers)[racer];
        return value;
      }));
      if (one.note) values.append(one.note);
      box.append(title, values);
      if (one.missing) box.append(Object.assign(document.createElement("p"), { className: "dl-lacks", textContent: one.missing }));
      return box;
    }));
    this.values = [...names.children].flatMap((box, i) =>
      named.map((racer, j) => ({ panel: this.panels[i], racer, element: box.children[1].children[j] })));
    cursor.setAttribute("width", this.places.width);
    cursor.setAttribute("height", this.places.height);
    cursor.innerHTML = this.places.cells.map(({ top, height }, i) => (this.panels[i].missing ? ""
      : `<rect class="dl-veil" y="${top}" height="${height}"/><line class="dl-cursor" y1="${top}" y2="${top + height}"/>`)).join("");
    this.cursorAt = null;
  }

  /** The cursor in each small chart, what lies past it faint, and the values there. */
  point(head) {
    this.cursorAt = head;
    const [low, high] = this.window;
    const marks = [...this.parts.cursor.children];
    this.places.cells.forEach(({ left, width }, i) => {
      if (this.panels[i].missing) return;
      const [veil, line] = marks.splice(0, 2);
      const share = Math.min(Math.max((head - low) / (high - low), 0), 1);
      const x = Math.round(10 * (left + share * width)) / 10;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      veil.setAttribute("x", x);
      veil.setAttribute("width", Math.max(left + width - x + 1, 0));
    });
    for (const { panel, racer, element } of this.values) put(element, drawn(panel, racer) ? significant(valueOf(panel, racer, head)) : "");
  }
}
