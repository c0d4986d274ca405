// The tokens of both themes (the look is shared with .streamlit/config.toml), and which one the page shows.

const TOKENS = {
  light: { ground: "#ffffff", panel: "#f6f7f9", hairline: "#e2e6eb", text: "#1b232d", secondary: "#5c6875",
           accent: "#2f6fde", grid: "#eceff3", cursor: "#5c6875" },
  dark: { ground: "#0f141b", panel: "#171e27", hairline: "#2a333f", text: "#e8edf3", secondary: "#9aa7b5",
          accent: "#6ea2ff", grid: "#242d38", cursor: "#9aa7b5" },
};

// Heat maps: from what is too small to tell up to the largest. Blue against amber, and teal alone, are told apart by
// those who cannot tell red from green.
const HEAT = {
  light: { negative: ["#eef0f3", "#7ea6ec", "#12408f"], positive: ["#eef0f3", "#eeaa4e", "#874700"],
           size: ["#eef0f3", "#6cbcb3", "#00403b"] },
  dark: { negative: ["#1c242f", "#3f70cf", "#b9d2ff"], positive: ["#1c242f", "#b06d14", "#ffd9a0"],
          size: ["#1c242f", "#1d807a", "#b4fbf3"] },
};

export const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "6px,2px,2px,2px", "2px,6px"];

/** "light" or "dark", from a CSS colour of the ground (#rgb, #rrggbb or rgb(...)). */
export function nameFor(color) {
  const hex = color.trim().match(/^#([0-9a-f]{3,8})$/i)?.[1];
  const parts = hex
    ? [0, 1, 2].map((i) => (hex.length < 6 ? parseInt(hex[i] + hex[i], 16) : parseInt(hex.slice(2 * i, 2 * i + 2), 16)))
    : (color.match(/[\d.]+/g) ?? [255, 255, 255]).slice(0, 3).map(Number);
  const [r, g, b] = parts;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b < 128 ? "dark" : "light";
}

/** The theme as the figure needs it. `palette` is {light: [8 hex], dark: [8 hex]}. */
export function themeOf(name, palette) {
  return { name, ...TOKENS[name], heat: HEAT[name], colors: palette[name] };
}

/** #rrggbb at an opacity. */
export function faded(hex, opacity) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return `rgba(${r},${g},${b},${opacity})`;
}

/** The colour at `share` (0 to 1) of the way through evenly spaced #rrggbb, as [r, g, b]. */
export function between(stops, share) {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const first = Math.min(Math.floor(place), stops.length - 2);
  const part = (stop, i) => parseInt(stop.slice(1 + 2 * i, 3 + 2 * i), 16);
  return [0, 1, 2].map((i) => Math.round(part(stops[first], i) + (place - first) * (part(stops[first + 1], i) - part(stops[first], i))));
}
