"""How numbers travel to the browser: as bytes in base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray


def text(array: NDArray[Any]) -> str:
    """The array's bytes, in base64."""
    return base64.b64encode(array.tobytes()).decode()


def halves(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Their upper halves: their size to within 0.4%.

    Half of the last bit that stays is added, so that it is rounded, not cut off.
    """
    return ((np.ascontiguousarray(values).view(np.uint32) + 0x8000) >> 16).astype("<u2")
