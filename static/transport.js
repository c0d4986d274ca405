// The controls under the charts: a video player's, plus the pace and the x axis. It shows a state and reports
// what the viewer does; it decides nothing.

export const SPEEDS = [["0.25", "¼×"], ["1", "1×"], ["4", "4×"], ["max", "max"]];
export const AXES = [["steps", "steps"], ["evaluations", "evaluations"], ["seconds", "seconds"]];

// What a page may offer to do at the play head.
const OFFERS = [
  ["fork", "Fork here", "Go on from this step in another way; what there is stays"],
  ["look", "Look at this step", "This one step of one weight, line by line"],
];

const ICONS = {
  start: "M5 4h2v12H5zM16 4v12L8 10z",
  back: "M13.5 4v12L5.5 10z",
  play: "M6 3.5v13L16.5 10z",
  pause: "M5.5 4h3v12h-3zM11.5 4h3v12h-3z",
  forward: "M6.5 4v12l8-6z",
  end: "M13 4h2v12h-2zM4 4v12l8-6z",
};

const icon = (name) => `<svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true"><path fill="currentColor" d="${ICONS[name]}"/></svg>`;

const button = (action, name, title) =>
  `<button type="button" class="dl-button dl-${action}" data-action="${action}" aria-label="${title}" title="${title}">${icon(name)}</button>`;

const segments = (kind, label, choices, titleOf) =>
  `<div class="dl-segments" role="group" aria-label="${label}">${choices.map(([value, text]) =>
    `<button type="button" data-${kind}="${value}" aria-label="${titleOf(value)}" title="${titleOf(value)}" aria-pressed="false">${text}</button>`).join("")}</div>`;

const MARKUP = `
  <div class="dl-buttons">
    ${button("start", "start", "To the start")}
    ${button("back", "back", "One step back (left arrow; shift: 10 steps)")}
    ${button("play", "play", "Play (space)")}
    ${button("forward", "forward", "One step forward (right arrow; shift: 10 steps)")}
    ${button("end", "end", "To the end of what is trained")}
  </div>
  <input class="dl-scrub" type="range" min="0" step="1" value="0" aria-label="Step" title="Drag to any step that is trained">
  <div class="dl-step"><span class="dl-word">step </span><b></b> of <span></span></div>
  ${segments("speed", "Speed", SPEEDS, (v) =>
    v === "max" ? "max: as fast as it trains" : `${new Map(SPEEDS).get(v)}: ${250 * Number(v)} steps a second`)}
  ${segments("axis", "x axis", AXES, (v) => ({ steps: "x axis: steps", evaluations: "x axis: gradient evaluations", seconds: "x axis: seconds of training, each racer alone" })[v])}
  <div class="dl-offers" hidden>${OFFERS.map(([name, text, title]) =>
    `<button type="button" class="dl-text-button" data-action="${name}" title="${title}">${text}</button>`).join("")}</div>`;

export class Transport {
  /** `on`: {act(name), scrub(step), speed(value), axis(value)} */
  constructor(element, on) {
    element.innerHTML = MARKUP;
    this.element = element;
    this.scrub = element.querySelector(".dl-scrub");
    this.play = element.querySelector(".dl-play");
    this.now = element.querySelector(".dl-step b");
    this.total = element.querySelector(".dl-step span:last-child");
    this.shown = {};
    element.addEventListener("click", ({ target }) => {
      const { action, speed, axis } = target.closest("button")?.dataset ?? {};
      if (action) on.act(action);
      if (speed) on.speed(speed);
      if (axis) on.axis(axis);
    });
    this.scrub.addEventListener("input", () => on.scrub(Number(this.scrub.value)));
  }

  /** state: {head, reach, steps, playing, speed, axis, measuring, offers}. Touches the DOM only where it differs. */
  show(state) {
    const { head, reach, steps, playing } = state;
    const step = Math.floor(head);
    const changed = (key, value) => this.shown[key] !== value && ((this.shown[key] = value), true);
    if (changed("steps", steps)) {
      this.scrub.max = steps;
      this.total.textContent = steps.toLocaleString("en-US");
      this.element.style.setProperty("--dl-digits", 2 * steps.toLocaleString("en-US").length);
    }
    if (changed("step", step)) {
      this.scrub.value = step;
      this.now.textContent = step.toLocaleString("en-US");
      this.scrub.setAttribute("aria-valuetext", `step ${step} of ${steps}`);
    }
    if (changed("played", `${step}/${steps}`)) this.scrub.style.setProperty("--dl-played", `${(100 * step) / steps}%`);
    if (changed("held", `${reach}/${steps}`)) this.scrub.style.setProperty("--dl-held", `${(100 * reach) / steps}%`);
    if (changed("playing", playing)) {
      const title = playing ? "Pause (space)" : "Play (space)";
      this.play.innerHTML = icon(playing ? "pause" : "play");
      this.play.title = title;
      this.play.setAttribute("aria-label", title);
    }
    if (changed("speed", state.speed)) this.press("speed", state.speed);
    if (changed("axis", state.axis)) this.press("axis", state.axis);
    if (changed("offers", state.offers.join())) {
      const buttons = [...this.element.querySelectorAll(".dl-offers button")];
      for (const b of buttons) b.hidden = !state.offers.includes(b.dataset.action);
      this.element.querySelector(".dl-offers").hidden = buttons.every((b) => b.hidden);
    }
    if (changed("measuring", state.measuring)) {
      this.element.querySelector("[data-axis=seconds]").textContent = state.measuring ? "measuring…" : "seconds";
    }
  }

  press(kind, value) {
    for (const b of this.element.querySelectorAll(`[data-${kind}]`)) {
      b.setAttribute("aria-pressed", String(b.dataset[kind] === value));
    }
  }
}
