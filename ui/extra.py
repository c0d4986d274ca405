"""What a race records beyond the usual. It changes no training, and makes another entry of the cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from core.config import Config
from core.lens import Lens
from core.state import RECORDING, Recording


@dataclass(frozen=True)
class Extra:
    """A race seen through a `lens`, which then records what the lens sees and its loss, and nothing else; or one that
    keeps the smoothed loss of every seed, its `curves`.
    """

    lens: Lens | None = None
    curves: bool = False

    def key(self, config: Config) -> str:
        """A short name of the race and of what is recorded, for caches and for the browser."""
        more = f"-{hashlib.sha256(repr(self).encode()).hexdigest()[:8]}" if self != USUAL else ""
        return config.key() + more

    @property
    def recording(self) -> Recording:
        """What the engine is told to record."""
        return Recording(evaluations=1, probes=1, texts=1, names=(), lens=self.lens) if self.lens else RECORDING


USUAL = Extra()
