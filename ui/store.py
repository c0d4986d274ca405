"""Which session holds which of the texts and tables that were brought: each goes with the last that holds it.

The bytes themselves lie in files (`core.tasks.brought`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

import streamlit as st
from streamlit import runtime

from core.tasks import brought
from ui import limits
from ui.live import races

FULL = (
    f"This server holds as many texts and tables of its visitors as it can, {limits.BROUGHT_BYTES // 10**6} MB: "
    "try again when some of them have left, or bring a smaller one."
)
MINE = (
    f"You hold as much here as one visitor may, {limits.SESSION_BYTES // 10**6} MB: let go of what you brought before, "
    "or bring a smaller one."
)
log = logging.getLogger(__name__)


def _connected(session: str) -> bool:
    return not runtime.exists() or runtime.get_instance().is_active_session(session)


class Store:
    """All that is held: the size of each, and by whom. One for the whole server.

    A session whose browser has been away for `limits.AWAY_SECONDS` is gone: Streamlit itself would notice that only
    when the next visitor comes.
    """

    def __init__(self, most: int = limits.BROUGHT_BYTES, connected: Callable[[str], bool] = _connected):
        self._most, self._connected = most, connected
        self._sizes: dict[str, int] = {}
        self._held: dict[str, frozenset[str]] = {}
        self._seen: dict[str, float] = {}  # when each of them was last connected
        self._watching = False
        self._lock = threading.RLock()

    @property
    def size(self) -> int:
        """Bytes of all that is held."""
        return sum(self._sizes.values())

    def keep(self, session: str, content: bytes) -> str:
        """A session holds these bytes as well; returns their hash.

        Raises:
            ValueError: there is no room for them, or not for this session.
            OSError: they cannot be written.
        """
        name = brought.hash_of(content)
        with self._lock:
            mine = self._held.get(session, frozenset())
            if sum(self._sizes[held] for held in mine - {name}) + len(content) > limits.SESSION_BYTES:
                raise ValueError(MINE)
            if self.size + len(content) > self._most and name not in self._sizes:
                raise ValueError(FULL)
            self._sizes[name] = len(content)
            self._held[session] = mine | {name}
            self._seen[session] = time.monotonic()
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, daemon=True).start()
        try:
            brought.keep(content, name)
        except BaseException:
            self.hold(session, mine)
            raise
        with self._lock:
            if name not in self._sizes:  # the session has gone while it was written
                brought.forget(name)
        return name

    def hold(self, session: str, contents: Iterable[str]) -> None:
        """Of what a session holds, it holds these from now on, and no others."""
        with self._lock:
            self._held[session] = self._held.get(session, frozenset()) & frozenset(contents)
            if not self._held[session]:
                del self._held[session]
                self._seen.pop(session, None)
            gone = set(self._sizes).difference(*self._held.values())
            for name in gone:
                del self._sizes[name]
                brought.forget(name)
        for name in gone:
            races().forget(name)

    def sweep(self) -> None:
        """Whoever has been away for too long holds nothing any more."""
        now = time.monotonic()
        with self._lock:
            self._seen.update({session: now for session in self._held if self._connected(session)})
            away = [session for session in self._held if now - self._seen[session] > limits.AWAY_SECONDS]
        for session in away:
            self.hold(session, ())

    def _watch(self) -> None:
        """As long as anything is held."""
        while True:
            time.sleep(limits.SWEEP_SECONDS)
            try:
                self.sweep()
            except Exception:
                log.exception("what visitors brought could not be swept")
            with self._lock:
                if not self._held:
                    self._watching = False
                    return


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """The one of this server."""
    return Store()
