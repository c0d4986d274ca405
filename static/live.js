// The live chart: mounts into Streamlit's component, holds what was trained, plays it, and asks for more
// whenever it has drawn what it has. Streamlit calls the default export once for each message from Python.
//
//   store.js      what is held of a race       figure.js     store -> traces, layout, overlay
//   transport.js  the controls                 overlay.js    names, cursor, readout
//   format.js     numbers and ticks            theme.js      tokens of light and dark
//   samples.js    what the networks write  menu.js      the cards' optimizer menu
//   lensview.js   what the rules computed, by layer and weight

import "./menu.js";
import { tickText, significant, percent } from "./format.js";
import { failureText, fitRange, geometry, levelAt, lossChart, namesOf, reading, scene, worseThanGuessing } from "./figure.js";
import { LensView, ROOM as LENS_ROOM } from "./lensview.js";
import { paintOverlay, paintPointer, paintReadout } from "./overlay.js";
import { ROOM, Samples, written } from "./samples.js";
import { Store, valueAt } from "./store.js";
import { nameFor, themeOf } from "./theme.js";
import { AXES, SPEEDS, Transport } from "./transport.js";

const PACE = 250; // steps a second at 1x
const FRAME = 50; // ms between redraws, at least
const SETTLE = 200; // ms without motion until every point is drawn
const ANSWER = 2000; // ms to wait for an answer to a pull
const REPLAY = 1.5; // s that a race takes when it is played again at full speed
const FAREWELL = 1500; // ms a ghost stays after it is overtaken

const MARKUP = `
  <div class="dl-head"><h2>Training starts…</h2><p></p></div>
  <div class="dl-charts" tabindex="0" role="group">
    <div class="dl-plot"></div>
    <svg class="dl-overlay" aria-hidden="true"></svg>
    <svg class="dl-pointer" aria-hidden="true"></svg>
    <div class="dl-title"><b></b> <span></span></div>
    <button type="button" class="dl-reset" aria-label="Reset zoom" title="Reset zoom (or double-click the chart)" hidden>reset zoom</button>
    <label class="dl-choice"><select aria-label="Lower chart" title="What the lower chart shows"></select></label>
    <div class="dl-missing"></div>
    <div class="dl-readout" role="status" aria-live="off" hidden></div>
  </div>
  <div class="dl-transport"></div>
  <section class="dl-lens" hidden></section>
  <div class="dl-samples" hidden></div>
  <div class="dl-announce" aria-live="polite"></div>`;

const beside = (file) => new URL(`app/static/${file}`, document.baseURI).href;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

let plotly = null;
/** Plotly, loaded once for the page. */
function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    if (globalThis.Plotly) return resolve(globalThis.Plotly);
    const script = document.createElement("script");
    script.src = beside("plotly.min.js");
    script.onload = () => resolve(globalThis.Plotly);
    script.onerror = () => reject(new Error(`could not load ${script.src}`));
    document.head.append(script);
  });
  return plotly;
}

function loadStyle() {
  const href = beside("live.css");
  if (document.querySelector(`link[href="${href}"]`)) return;
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  document.head.append(link);
}

class Live {
  constructor(parent) {
    loadStyle();
    this.root = document.createElement("div");
    this.root.className = "dl-live";
    this.root.innerHTML = MARKUP;
    parent.append(this.root);
    const find = (selector) => this.root.querySelector(selector);
    this.parts = {
      head: find(".dl-head"), headline: find("h2"), detail: find(".dl-head p"), charts: find(".dl-charts"), plot: find(".dl-plot"),
      overlay: find(".dl-overlay"), pointer: find(".dl-pointer"), title: find(".dl-title"), reset: find(".dl-reset"),
      choice: find(".dl-choice"), select: find("select"), missing: find(".dl-missing"), readout: find(".dl-readout"), announce: find(".dl-announce"),
    };
    this.transport = new Transport(find(".dl-transport"), {
      act: (name) => this.act(name),
      scrub: (step) => this.seek(step),
      speed: (speed) => this.choose({ speed }),
      axis: (x) => this.choose({ x }),
    });
    this.lens = new LensView(find(".dl-lens"), (what) => this.component.setTriggerValue("pick", what));
    this.samples = new Samples(find(".dl-samples"));
    this.view = null;
    this.store = null;
    this.ghost = null;
    this.head = 0;
    this.playing = true;
    this.zoom = null;
    this.ranges = [null, null]; // per chart {id, now, aim}
    this.hover = null; // {x, y} of the pointer, in pixels of the charts
    this.drag = null; // [from, to] in pixels while a zoom is dragged
    this.stale = true; // the figure has to be drawn
    this.movedAt = 0;
    this.drawnAt = 0;
    this.counts = { paints: 0, blank: 0, pulls: 0 };
    this.pen = document.createElement("canvas").getContext("2d");
    this.listen();
    loadPlotly().then(
      (Plotly) => (this.Plotly = Plotly),
      (error) => (this.parts.detail.textContent = `The charts cannot be drawn: ${error.message}.`),
    );
    const lab = (window.__descentLab ??= {});
    this.paints = lab.paints ??= [];
  }

  // -------------------------------------------------------------- messages from Python

  update(component) {
    this.component = component;
    this.asked = null;
    // What never changes in a race is sent until the browser has said that it holds some of it.
    const { race, ...news } = component.data;
    if (race) this.race = { ...race, run: news.run };
    if (this.race?.run !== news.run) return this.ask(news.run, {});
    const data = { ...this.race, ...news };
    const previous = this.store;
    const lens = this.lens.take(data.lens, data);
    if (previous?.run === data.run) {
      // An answer without news means the trainer is busy: ask again in a moment, not at once.
      const news = previous.merge(data) || lens === "news";
      this.restUntil = news ? 0 : performance.now() + 100;
    } else {
      this.store = new Store(data);
      this.begin(previous);
    }
    this.data = data;
    if (data.asks && this.playing) this.pause();
    this.adoptView(data.view);
    this.stale = true;
    this.refit();
    this.wake();
    if (lens === "unknown") this.ask(data.run, this.store.have);
  }

  /** A new race starts at once. The old one stays as the ghost; also that of another problem, until there is something to see. */
  begin(previous) {
    if (previous?.tracks.loss.held) this.ghost = previous;
    this.ghostUntil = null;
    if (previous && previous.generation !== this.store.generation) {
      this.zoom = null;
      this.ranges = [null, null];
      // On a phone what was chosen may stand far below the charts.
      if (this.width < 640) this.root.scrollIntoView({ block: "start" });
      this.parts.head.style.minHeight = "";
    }
    this.head = 0;
    this.playing = true;
    this.replaying = false;
    this.restUntil = 0;
    this.parts.announce.textContent = "";
    this.movedAt = performance.now();
    this.ranges.forEach((range) => range && (range.fresh = true));
  }

  /** The view in the data is an echo of the viewer's own choice, or the link the page was opened with. */
  adoptView(view) {
    const key = JSON.stringify(view);
    const echo = performance.now() - (this.choseAt ?? -Infinity) < 2000;
    if (!this.view || (key !== this.viewKey && !echo)) {
      this.view = {
        chart: view?.chart,
        x: AXES.some(([x]) => x === view?.x) ? view.x : "steps",
        speed: SPEEDS.some(([s]) => s === String(view?.speed)) ? String(view.speed) : "1",
      };
    }
    this.viewKey = key;
  }

  choose(change) {
    if ("x" in change && change.x !== this.view.x) this.zoom = null;
    this.view = { ...this.view, ...change };
    this.choseAt = performance.now();
    this.stale = true;
    this.refit();
    this.component.setTriggerValue("view", { ...this.view });
  }

  // -------------------------------------------------------------- derived

  /** The loss and the chart chosen for below it. */
  get charts() {
    const { charts } = this.data;
    return [lossChart(this.data), charts.find((c) => c.id === this.view.chart) ?? charts[0]];
  }

  get axis() {
    return this.view.x === "seconds" && !this.store.seconds ? "steps" : this.view.x;
  }

  get rate() {
    if (this.view.speed !== "max") return PACE * Number(this.view.speed);
    // As fast as it is trained; played again, what is held passes in a moment that an eye can follow.
    return this.replaying ? this.store.steps / REPLAY : Infinity;
  }

  get foreign() {
    return this.ghost && this.ghost.generation !== this.store.generation;
  }

  /** Aims the y ranges at the data: they only grow while a run is trained and fit anew when it is complete. */
  refit() {
    const stores = this.ghost && !this.foreign ? [this.ghost, this.store] : [this.store];
    this.charts.forEach((chart, panel) => {
      const fit = fitRange(chart, stores);
      const old = this.ranges[panel];
      const same = old?.id === chart.id && old.log === chart.log;
      if (!fit) {
        if (!same) this.ranges[panel] = { id: chart.id, log: chart.log, now: chart.log ? [-1.5, 0.5] : [0, 1], aim: null };
        return;
      }
      // An accuracy that has left the chance level behind would stay squeezed at the top.
      const loose = old?.aim && chart.percent && fit[1] - fit[0] < 0.6 * (old.aim[1] - old.aim[0]);
      const grows = same && old.aim && !old.fresh && !loose && !this.store.complete;
      const aim = grows ? [Math.min(old.aim[0], fit[0]), Math.max(old.aim[1], fit[1])] : fit;
      this.ranges[panel] = { id: chart.id, log: chart.log, aim, now: same && old.aim && !calm.matches ? old.now : aim };
    });
  }

  /** Moves the ranges a part of the way to where they aim; true while they are under way. */
  glide() {
    return this.ranges.map((range) => {
      if (!range?.aim || range.now === range.aim) return false;
      const size = range.aim[1] - range.aim[0];
      const next = range.now.map((v, i) => v + 0.4 * (range.aim[i] - v));
      const arrived = next.every((v, i) => Math.abs(range.aim[i] - v) < 0.004 * size);
      range.now = arrived ? range.aim : next;
      return !arrived;
    }).some(Boolean);
  }

  // -------------------------------------------------------------- the loop

  wake() {
    if (this.awake) return;
    this.awake = true;
    this.last = performance.now();
    this.observer.observe(this.root);
    document.addEventListener("keydown", this.onKey);
    document.addEventListener("pointerdown", this.onElsewhere);
    const loop = (now) => {
      if (!this.awake) return;
      this.tick(now);
      requestAnimationFrame(loop);
    };
    requestAnimationFrame(loop);
  }

  rest() {
    this.awake = false;
    this.observer.disconnect();
    document.removeEventListener("keydown", this.onKey);
    document.removeEventListener("pointerdown", this.onElsewhere);
  }

  tick(now) {
    // A tab that was hidden goes on where it was.
    const elapsed = Math.min(now - this.last, 100) / 1000;
    this.last = now;
    this.advance(elapsed, now);
    this.dismissGhost(now);
    this.followTheme(now);
    const detail = now - this.movedAt > SETTLE;
    if (detail !== this.detail) [this.detail, this.stale] = [detail, true];
    if (!this.Plotly || !this.width || this.drawing) return;
    this.lens.suit({ width: this.width, theme: this.theme, zoom: this.axis === "steps" ? this.zoom : null });
    // The charts come first: the lens draws its own in frames that leave them as they are, when what they drew is out.
    const due = this.stale && now - this.drawnAt >= FRAME;
    this.lens.frame(this.head, now, this.Plotly, !due && this.reported);
    for (const [name, value] of Object.entries(this.lens.counts)) {
      if (this.root.dataset[name] !== String(value)) this.root.dataset[name] = value;
    }
    if (due) this.draw(now);
    else if (!this.stale) this.pull(now);
  }

  advance(elapsed, now) {
    if (!this.playing) return;
    const { reach, steps, complete } = this.store;
    const head = this.rate === Infinity ? reach : Math.min(reach, this.head + this.rate * elapsed);
    if (head !== this.head) {
      this.head = head;
      this.movedAt = now;
      this.stale = true;
    }
    if (complete && head >= steps) this.pause();
  }

  /** The ghost goes when the new run has overtaken it, and that of another problem as soon as the new one is drawn. */
  dismissGhost(now) {
    if (!this.ghost) return;
    const overtaken = this.head >= Math.min(this.store.steps, this.ghost.reach);
    if (overtaken) this.ghostUntil ??= now + FAREWELL;
    const drawn = this.foreign && this.head >= 2;
    if (!drawn && !(this.ghostUntil && now >= this.ghostUntil)) return;
    this.ghost = null;
    this.stale = true;
    this.refit();
  }

  followTheme(now) {
    if (now < (this.themeCheckAt ?? 0)) return;
    this.themeCheckAt = now + 250;
    const css = getComputedStyle(this.root).getPropertyValue("--st-background-color") || getComputedStyle(document.body).backgroundColor;
    const key = css + JSON.stringify(this.data.palette);
    if (key === this.themeKey) return;
    this.themeKey = key;
    this.family = getComputedStyle(this.root).fontFamily;
    this.theme = themeOf(nameFor(css), this.data.palette);
    this.root.dataset.theme = this.theme.name;
    for (const [name, value] of Object.entries(this.theme)) {
      if (typeof value === "string") this.root.style.setProperty(`--dl-${name}`, value);
    }
    this.stale = true;
  }

  // -------------------------------------------------------------- drawing

  async draw(now) {
    this.drawing = true;
    this.reported = false;
    this.drawnAt = now;
    this.stale = this.glide();
    const { store, charts } = this;
    const names = namesOf(store.racers);
    const measure = (name, text) => this.measure(name, text);
    const height = innerHeight - (this.data.writes ? ROOM : this.data.lens ? LENS_ROOM : 0);
    const box = geometry(this.width, Math.max(...names.map((name) => measure(name, "0.00000"))), height);
    this.drawn = scene({
      store, ghost: this.ghost, charts, ranges: this.ranges.map((r) => r.now), head: this.head, axis: this.axis,
      zoom: this.zoom, detail: this.detail, theme: this.theme, box, measure,
    });
    this.arrange(box, charts);
    this.tell();
    paintOverlay(this.parts.overlay, this.drawn.overlay);
    this.point();
    const painted = { run: store.run, step: this.paintedStep(), head: Math.floor(this.head), trained: store.trained };
    try {
      await this.Plotly.react(this.parts.plot, this.drawn.traces, this.drawn.layout, { staticPlot: true, displayModeBar: false, responsive: false });
    } finally {
      this.drawing = false;
    }
    requestAnimationFrame((at) => {
      this.reported = true;
      this.report(painted);
      this.pull(at);
    });
  }

  /** Largest loss step drawn of the current run. */
  paintedStep() {
    const { at, held } = this.store.tracks.loss;
    for (let i = held - 1; i >= 0; i--) if (at[i] <= this.head) return at[i];
    return 0;
  }

  measure(name, text) {
    this.pen.font = `600 15px ${this.family}`;
    const bold = this.pen.measureText(name).width;
    this.pen.font = `400 15px ${this.family}`;
    return bold + this.pen.measureText(` ${text}`).width;
  }

  /** The HTML around the plots: titles, select, transport. */
  arrange(box, [loss, lower]) {
    const { title, select, choice, missing, charts, reset } = this.parts;
    const { seeds } = this.data;
    this.root.dataset.size = box.narrow ? "narrow" : box.width < 940 ? "medium" : "wide";
    charts.style.height = `${box.height}px`;
    charts.setAttribute("aria-label", `${loss.label} above, ${lower.label} below. Arrow keys move the play head, space plays.`);
    title.style.left = `${box.left}px`;
    title.firstElementChild.textContent = loss.label;
    const band = seeds > 1 ? `median and range of ${seeds} seeds` : "one seed";
    title.lastElementChild.textContent = loss.log ? `(log), ${band}` : band;
    title.title = this.data.smoothing ? `Line: ${this.data.smoothing}` : "";
    reset.hidden = !this.zoom;
    reset.style.right = `${box.width - box.right}px`;
    const between = box.panels[0].top + box.panels[0].height;
    const options = this.data.charts.map((c) => `${c.id}\n${c.label}`).join("\n\n");
    if (options !== this.options) {
      this.options = options;
      select.replaceChildren(...this.data.charts.map((c) => new Option(c.label, c.id)));
    }
    select.value = lower.id;
    choice.style.left = `${box.left}px`;
    choice.style.top = `${between}px`;
    choice.style.height = `${box.panels[1].top - between}px`;
    missing.textContent = lower.missing ?? "";
    missing.style.right = `${box.width - box.right}px`;
    missing.style.top = choice.style.top;
    missing.style.height = choice.style.height;
    this.transport.show({
      head: this.head, reach: this.store.reach, steps: this.store.steps, playing: this.playing,
      speed: this.view.speed, axis: this.view.x, measuring: this.view.x === "seconds" && !this.store.seconds,
      offers: this.data.offers ?? [],
    });
  }

  /** The verdict at the play head, and the live numbers on the racers' cards. */
  tell() {
    const verdict = this.store.verdict(this.head);
    const { head, headline, detail } = this.parts;
    const { problem } = this.data;
    const texts = [verdict?.headline ?? headline.textContent, problem ?? verdict?.detail ?? ""];
    detail.classList.toggle("dl-problem", Boolean(problem));
    if (headline.textContent !== texts[0] || detail.textContent !== texts[1]) {
      [headline.textContent, detail.textContent] = texts;
      // The words change in length as the race runs: the charts below must not jump.
      head.style.minHeight = `${Math.max(head.offsetHeight, parseFloat(head.style.minHeight) || 0)}px`;
    }
    for (const element of document.querySelectorAll("[data-live]")) {
      const [id, field] = element.dataset.live.split(/\.(?=[^.]*$)/);
      const index = this.store.racers.findIndex((r) => r.id === id);
      const text = index < 0 ? "" : this.result(index, field);
      if (element.textContent !== text) element.textContent = text;
    }
    for (const line of document.querySelectorAll("[data-now]")) {
      const x = ((this.head / this.store.steps) * line.ownerSVGElement.viewBox.baseVal.width).toFixed(1);
      for (const end of ["x1", "x2"]) if (line.getAttribute(end) !== x) line.setAttribute(end, x);
    }
  }

  result(index, field) {
    const at = (line) => (line ? valueAt(line, line.mid, this.head) : NaN);
    if (field === "loss") return significant(at(this.store.line(index, "loss", "")));
    if (field === "test") return (this.head >= this.store.steps && this.data.tests[this.store.racers[index].id]) || "–";
    if (field === "second") return percent(at(this.store.line(index, "eval", "val_acc")));
    const chart = this.data.charts?.find((one) => one.id === field);
    if (chart) {
      const value = at(this.store.line(index, chart.track, chart.field));
      return chart.percent ? percent(value) : significant(value);
    }
    const worse = worseThanGuessing(this.store, this.data.guessing, index, this.head);
    const failure = this.store.failure(this.store.racers[index].id, this.head);
    if (!failure) return worse;
    if (failure.kind !== "blown") return failureText(failure);
    // Some come back: blown up is said of a racer that is so now.
    return at(this.store.line(index, "loss", "")) > failure.bound ? "blown up" : worse;
  }

  /** What the networks write, at the pointer where it is over the charts, or else at the play head. */
  quote(x) {
    const { store, axis, head } = this;
    const steps = store.racers.map((_, i) => (x === null ? head : Math.min(store.stepAt(i, axis, x), head)));
    this.samples.show(this.data.writes ? written(store, steps) : null, this.theme.colors, this.data.seeds);
  }

  /** The hovered line, the readout, the texts there, and the stretch being dragged. */
  point() {
    if (!this.drawn) return;
    const { overlay: { box }, window } = this.drawn;
    const inside = this.hover && !this.drag && this.hover.x >= box.left && this.hover.x <= box.right;
    paintPointer(this.parts.pointer, box, { hover: inside ? this.hover.x : null, drag: this.drag });
    this.quote(inside ? this.valueAtPixel(this.hover.x) : null);
    if (!inside) {
      this.parts.readout.hidden = true;
      return;
    }
    const { charts, axis, store, theme } = this;
    const x = this.valueAtPixel(this.hover.x);
    const pixel = (window[1] - window[0]) / (box.right - box.left);
    const { rows, references, marks } = reading({
      store, charts, head: this.head, axis, x,
      reachOfMark: axis === "steps" ? 6 * pixel : 0.006 * store.steps,
    });
    const title = axis === "steps" ? `step ${Math.round(x).toLocaleString("en-US")}`
      : axis === "seconds" ? (x < 1 ? `${significant(1000 * x, 4)} ms` : `${significant(x, 4)} s`) : `${tickText(Math.round(x))} evaluations`;
    paintReadout(this.parts.readout, { title, heads: charts.map((c) => c.label), rows, references, marks, level: levelAt(this.drawn.overlay, this.hover), colors: theme.colors, axis }, this.hover, box);
  }

  valueAtPixel(x) {
    const { overlay: { box }, window } = this.drawn;
    return window[0] + ((x - box.left) / (box.right - box.left)) * (window[1] - window[0]);
  }

  /** What tests and measurements read. */
  report({ run, step, head, trained }) {
    const shows = ["xy", "xy2"].map((plot) => this.parts.plot.querySelector(`.${plot} .scatterlayer path[d]`) !== null);
    // A viewer who goes to the start, or to a chart without lines, asked for none.
    const key = this.charts[1].id;
    if (head >= 2 && this.shownKey === key && shows.some((now, i) => !now && this.shown[i])) this.counts.blank++;
    [this.shown, this.shownKey] = [shows, key];
    this.counts.paints++;
    this.paints.push({ run, t: performance.now(), painted: step });
    if (this.paints.length > 500) this.paints.shift();
    Object.assign(this.root.dataset, {
      run, head, trained, painted: step, paints: this.counts.paints, blank: this.counts.blank, playing: this.playing, ghosts: this.ghost ? this.ghost.racers.length : 0,
    });
  }

  // -------------------------------------------------------------- asking for more

  /** Asks for the next slice if it will be needed soon and no question is open. */
  pull(now) {
    const { store } = this;
    const measuring = this.view.x === "seconds" && !store.seconds;
    const wanting = this.lens.wanting || this.data.asks;
    if (!this.awake || document.hidden || (store.complete && !measuring && !wanting) || now < this.restUntil) return;
    if (this.asked && now - this.asked < ANSWER) return;
    // A pull that reaches Streamlit in mid-run is answered back to back with that run's end, and Streamlit then
    // forgets to take away what that run no longer shows.
    if (document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === "running") return;
    const ahead = (store.reach - this.head) / this.rate; // seconds of play
    if (!measuring && !wanting && this.rate !== Infinity && ahead >= (this.playing ? 0.6 : 1)) return;
    this.asked = now;
    this.ask(store.run, store.have);
  }

  ask(run, have) {
    this.counts.pulls++;
    const lens = this.data?.lens ? { lens: this.lens.told } : {};
    const stands = this.data?.asks ? { head: Math.floor(this.head) } : {};
    this.component.setTriggerValue("pull", { run, have, ...lens, ...stands, at: this.counts.pulls });
  }

  // -------------------------------------------------------------- the viewer

  act(name) {
    if (name === "play") this.playing ? this.pause() : this.play();
    if (name === "start") this.seek(0);
    if (name === "end") this.seek(this.store.reach);
    if (name === "back") this.seek(Math.ceil(this.head) - 1);
    if (name === "forward") this.seek(Math.floor(this.head) + 1);
    if (name === "fork") {
      this.component.setTriggerValue("fork", { step: Math.floor(this.head) });
      // The form opens among the settings, which may be out of sight.
      setTimeout(() => document.querySelector(".st-key-forks")?.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" }), 600);
    }
    if (name === "look") this.component.setTriggerValue("look", { step: Math.max(Math.floor(this.head), 1), ...this.lens.meant });
  }

  play() {
    this.replaying = this.store.complete && this.head >= this.store.steps;
    if (this.replaying) this.head = 0;
    this.playing = true;
    this.stale = true;
  }

  pause() {
    this.playing = false;
    this.stale = true;
    const verdict = this.store.verdict(this.head);
    this.parts.announce.textContent = verdict ? `${verdict.headline} ${verdict.detail ?? ""}` : "";
  }

  /** To a step that is trained; the race stands still there. */
  seek(step) {
    this.head = Math.min(Math.max(step, 0), this.store.reach);
    this.movedAt = performance.now();
    if (this.playing) this.pause();
    this.stale = true;
  }

  listen() {
    const { charts, select, reset, overlay } = this.parts;
    this.observer = new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width);
      if (width === this.width) return;
      this.width = width;
      this.parts.head.style.minHeight = "";
      this.stale = true;
    });
    this.onKey = (event) => this.key(event);
    this.onElsewhere = ({ target }) => {
      if (!charts.contains(target)) this.leave();
    };
    select.addEventListener("change", () => this.choose({ chart: select.value }));
    reset.addEventListener("click", () => this.zoomTo(null));
    const where = ({ clientX, clientY }) => {
      const { left, top } = charts.getBoundingClientRect();
      return { x: clientX - left, y: clientY - top };
    };
    overlay.addEventListener("pointerdown", (event) => {
      this.hover = where(event);
      if (event.pointerType !== "touch" && event.button === 0 && this.drawn) {
        overlay.setPointerCapture(event.pointerId);
        this.grabbed = this.hover.x;
      }
      this.point();
    });
    overlay.addEventListener("pointermove", (event) => {
      this.hover = where(event);
      if (this.grabbed !== undefined) {
        const { left, right } = this.drawn.overlay.box;
        const edges = [this.grabbed, this.hover.x].map((x) => Math.min(Math.max(x, left), right));
        this.drag = Math.abs(edges[1] - edges[0]) > 5 ? edges : null;
      }
      this.point();
    });
    overlay.addEventListener("pointerup", () => {
      const stretch = this.drag?.map((x) => this.valueAtPixel(x)).sort((a, b) => a - b);
      this.grabbed = undefined;
      this.drag = null;
      if (stretch) this.zoomTo(stretch);
      else this.point();
    });
    overlay.addEventListener("pointercancel", () => {
      this.grabbed = undefined;
      this.leave();
    });
    // A finger that lifts leaves its readout to be read; a tap elsewhere closes it.
    overlay.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && this.leave());
    overlay.addEventListener("dblclick", () => this.zoomTo(null));
  }

  leave() {
    if (!this.hover && !this.drag) return;
    this.hover = null;
    this.drag = null;
    this.point();
  }

  zoomTo(stretch) {
    this.zoom = stretch;
    this.stale = true;
  }

  key(event) {
    if (!this.store || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target instanceof Element ? event.target : document.body;
    const own = this.root.contains(target);
    const elsewhere = "input, select, textarea, button, summary, a, [contenteditable], [role=slider], [role=listbox], [role=option], [role=menu], [role=dialog], [role=radiogroup], [role=tab]";
    if (!own && target.closest(elsewhere)) return;
    if (target.closest("select")) return;
    const by = event.shiftKey ? 10 : 1;
    // Space on a button presses that button.
    if (event.key === " " && !target.closest("button")) this.act("play");
    else if (event.key === "ArrowLeft") this.seek(Math.ceil(this.head) - by);
    else if (event.key === "ArrowRight") this.seek(Math.floor(this.head) + by);
    else return;
    event.preventDefault();
  }
}

const instances = new WeakMap();

export default function render(component) {
  const { parentElement } = component;
  let live = instances.get(parentElement);
  if (!live) instances.set(parentElement, (live = new Live(parentElement)));
  live.update(component);
  const turn = (live.turn = (live.turn ?? 0) + 1);
  // Streamlit also runs the clean-up of a message that a newer one has overtaken: only the last one counts.
  return () => turn === live.turn && live.rest();
}
