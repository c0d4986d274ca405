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
