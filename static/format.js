// Numbers as people read them, and the ticks of an axis. Pure: no DOM.

/** Three (or `digits`) significant digits; an exponent only outside 0.001 to 9,999. */
export function significant(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 0.001 && size < 9999.5) {
    return size >= 10 ** (digits - 1) ? Math.round(value).toLocaleString("en-US") : value.toPrecision(digits);
  }
  return value.toExponential(digits - 1).replace("e+", "e");
}

export function percent(value, decimals = 1) {
  return Number.isFinite(value) ? `${(100 * value).toFixed(decimals)}%` : "–";
}

/** A tick's text: as short as the number allows ("0.03", "1,000", "1e-5"). */
export function tickText(value) {
  const size = Math.abs(value);
  const clean = Number(value.toPrecision(6)); // 0.3, not 0.30000000000000004
  if (size !== 0 && (size < 0.0009 || size >= 1e6)) return clean.toExponential().replace("e+", "e");
  return clean.toLocaleString("en-US", { maximumFractionDigits: 6 });
}

/** Round numbers from low to high: as near to `count` of them as steps of 1, 2 and 5 come. */
export function linearTicks(low, high, count) {
  const span = high - low;
  if (!(span > 0)) return [];
  const power = 10 ** Math.floor(Math.log10(span / count));
  const miss = (step) => Math.abs(Math.floor(span / step + 1e-9) + 1 - count);
  const step = [1, 2, 5, 10].map((m) => m * power).reduce((best, s) => (miss(s) < miss(best) ? s : best));
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step || 0); // no -0
  return ticks;
}

/** Ticks of a log axis between low and high (values, not exponents): 1 and 3 in each decade where they fit,
 *  powers of ten only over many decades, more where less than a decade is visible. */
export function logTicks(low, high, most = 7) {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const within = (mantissas, every) => {
    const ticks = [];
    for (let e = first; e <= last; e++) {
      if (((e % every) + every) % every) continue;
      // Number("3e-2") is exactly 0.03, which 3 * 10 ** -2 is not.
      for (const m of mantissas) ticks.push(Number(`${m}e${e}`));
    }
    return ticks.filter((t) => t >= low * 0.999 && t <= high * 1.001);
  };
  const fine = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 5, 7], [1, 2, 5]].map((m) => within(m, 1));
  const plain = within([1, 3], 1);
  if (plain.length >= 3 && plain.length <= most) return plain;
  if (plain.length < 3) {
    const dense = fine.reverse().find((t) => t.length >= 3 && t.length <= most);
    return dense ?? linearTicks(low, high, 4);
  }
  for (let every = 1; ; every++) {
    const tens = within([1], every);
    if (tens.length <= most) return tens;
  }
}

/** Ends of an axis of round numbers, as accuracies have: 0.8 to 1. */
export function roundOut(low, high, step) {
  return [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step];
}

/** The q-quantile (0..1) of the finite numbers in `values`; NaN when there are none. */
export function quantile(values, q) {
  const sorted = Float64Array.from(values).filter(Number.isFinite).sort();
  return sorted.length ? sorted[Math.round(q * (sorted.length - 1))] : NaN;
}

/** Moves labels apart: the positions nearest to `wanted` (least squares) that keep `gap` between
 *  neighbours and stay within low..high, as far as they fit. */
export function spread(wanted, gap, low, high) {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b] || a - b);
  // With the gaps taken out, "in order and apart" is "not descending": pool neighbours that violate it.
  const pools = [];
  order.forEach((i, rank) => {
    pools.push({ sum: wanted[i] - rank * gap, count: 1 });
    while (pools.length > 1) {
      const [a, b] = pools.slice(-2);
      if (a.sum / a.count <= b.sum / b.count) break;
      pools.splice(-2, 2, { sum: a.sum + b.sum, count: a.count + b.count });
    }
  });
  const top = Math.max(low, high - gap * (wanted.length - 1));
  const flat = pools.flatMap((p) => Array(p.count).fill(Math.min(Math.max(p.sum / p.count, low), top)));
  const placed = Array(wanted.length);
  order.forEach((i, rank) => (placed[i] = flat[rank] + rank * gap));
  return placed;
}
