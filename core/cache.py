"""What was made once and is asked for again, kept as far as it fits: bounded in bytes, not in entries."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Values by key, the least recently used dropped where all together are more than `most` bytes; for many threads.

    The newest stays, whatever its size. A value is made outside of the lock: two threads may both make it, and one of
    them is kept.
    """

    def __init__(self, most: int, size: Callable[[T], int]):
        self._most, self._size = most, size
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of that key, made where it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        made = make()
        with self._lock:
            self._drop(key)
            self._values[key] = made
            self.bytes += self._size(made)
            while self.bytes > self._most and len(self._values) > 1:
                self._drop(next(iter(self._values)))
        return made

    def keep(self, which: Callable[[Hashable], bool]) -> None:
        """Drop all values but those of such keys."""
        with self._lock:
            for key in [key for key in self._values if not which(key)]:
                self._drop(key)

    def __len__(self) -> int:
        return len(self._values)

    def _drop(self, key: Hashable) -> None:
        if key in self._values:
            self.bytes -= self._size(self._values.pop(key))
