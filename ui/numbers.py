"""Numbers as one says them."""

from __future__ import annotations


def number_text(value: float | int | bool) -> str:
    """A setting's value as one says it: 0.003, 1e-8, 1,000."""
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 1e-3:
        mantissa, exponent = f"{value:.3g}".split("e") if "e" in f"{value:.3g}" else f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}"


def duration_text(seconds: float) -> str:
    """Seconds as one says them: 0.84 s, 12 s, 3 min 20 s."""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds / 10) * 10, 60)
    return f"{minutes} min" + (f" {rest} s" if rest else "")
