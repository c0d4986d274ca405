"""A class: thirty pages are opened at once, each a session of its own that speaks Streamlit's protocol.

No browser is in it. A session connects as the page does, says which address it shows, answers what it is sent as
static/live.js does (a pull once the script has finished, and not before it could have drawn), and notes when the first
message with samples of a loss came in.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import count
from statistics import median
from typing import Any
from urllib.parse import urlencode

from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.measurement import Measurement, Measures, high
from benchmarks.served import server
from ui.scenario import default, write

SESSIONS, ROUNDS = 30, 3
DRAWING = 0.05  # s that a page takes to draw before it asks for more, at least
RESTING = 0.1  # s that it waits where an answer brought nothing new
LIMIT = 60  # s for one round
_seeds = count(1000)  # first seeds: each race that is to be new gets its own


class Session:
    """One page, as the server sees it."""

    def __init__(self, socket: ClientConnection, seed: int) -> None:
        self.socket = socket
        self.query = urlencode(write(default()) | {"seed": str(seed)})
        self.component = self.fragment = self.page = self.run = ""
        self.have: dict[str, int] = {}
        self.first: float | None = None  # seconds from the request to the first samples
        self.trained = 0  # steps
        self.news = True

    async def show(self, enough: Callable[[], bool]) -> None:
        """Ask for the page, and go on as a page does until all of the class have something to see."""
        began = time.perf_counter()
        await self.ask()
        while not enough():
            try:
                data = await asyncio.wait_for(self.socket.recv(decode=False), 0.1)
            except TimeoutError:
                continue
            now = time.perf_counter() - began
            message = ForwardMsg.FromString(data)
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self.page = message.new_session.page_script_hash
            elif kind == "delta" and message.delta.new_element.WhichOneof("type") == "bidi_component":
                self.take(message, now)
            elif kind == "script_finished" and self.component:
                await asyncio.sleep(DRAWING if self.news else RESTING)
                await self.ask(pull={"run": self.run, "have": self.have, "at": 1})

    def take(self, message: ForwardMsg, now: float) -> None:
        """What static/live.js would note of a message."""
        element = message.delta.new_element.bidi_component
        told: dict[str, Any] = json.loads(element.json)
        self.news = bool(told["blocks"]) or not self.component
        self.component, self.fragment = element.id, message.delta.fragment_id
        self.run, self.trained = told["run"], told["trained"]
        self.have |= {block["track"]: block["to"] for block in told["blocks"]}
        if self.first is None and self.have.get("loss", 0) > 0:
            self.first = now

    async def ask(self, pull: dict[str, Any] | None = None) -> None:
        message = BackMsg()
        message.rerun_script.query_string = self.query
        message.rerun_script.page_script_hash = self.page
        if pull:
            message.rerun_script.fragment_id = self.fragment
            events = json.dumps([{"event": "pull", "value": pull}])
            told = WidgetState(id=_make_trigger_id(self.component, "events"), json_trigger_value=events)
            message.rerun_script.widget_states.widgets.extend([WidgetState(id=self.component, json_value="{}"), told])
        await self.socket.send(message.SerializeToString())


async def visit(address: str, seeds: Sequence[int], steps: int = 1) -> list[float]:
    """One page for each seed: all connect, then all ask at once. Seconds to the first samples of each.

    They stay until all have samples, and so many steps are trained.
    """
    stream = address.replace("http", "ws", 1) + "/_stcore/stream"
    sockets = [
        await connect(stream, subprotocols=["streamlit"], max_size=None, compression=None, proxy=None)  # type: ignore[list-item]
        for _ in seeds
    ]
    try:
        sessions = [Session(socket, seed) for socket, seed in zip(sockets, seeds, strict=True)]

        def enough() -> bool:
            return all(session.first is not None and session.trained >= steps for session in sessions)

        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*(session.show(enough) for session in sessions))
        return [session.first for session in sessions if session.first is not None]
    finally:
        for socket in sockets:
            await socket.close()


@lru_cache(maxsize=1)
def rounds() -> dict[str, list[list[float]]]:
    """Seconds to the first samples of each session, in each round: each its own race, and one race for all."""
    found: dict[str, list[list[float]]] = {"own": [], "shared": []}
    steps = default().config.steps

    def of(seeds: Sequence[int], steps: int = 1) -> list[float]:
        return asyncio.run(visit(address, seeds, steps))

    def new(sessions: int) -> list[int]:
        return [next(_seeds) for _ in range(sessions)]

    with server() as address:
        of(new(4), steps)  # what the first visitors pay for
        for _ in range(ROUNDS):
            found["own"].append(of(new(SESSIONS)))
            link = new(1)
            of(link, steps)
            found["shared"].append(of(link * SESSIONS))
    return found


def first_data(which: str, bar: int) -> Measurement:
    """What the last but one of a class waits for."""
    times = [[1000 * seconds for seconds in sorted(one)] for one in rounds()[which]]
    worst = [high(one) for one in times]
    links = {
        "own": "each with a race of its own that was never trained before",
        "shared": "all with one link, whose race was trained to its end before",
    }
    return Measurement(
        median(worst), "ms",
        f"{SESSIONS} sessions over Streamlit's websocket protocol from one process on the same machine, {links[which]} "
        f"(the default screen, from another first seed). All are connected, then all ask for the page at the same "
        f"moment; from a session's request to the message that brings it the first samples of the loss, which includes "
        f"the first run of the page's script for each. Sessions that have theirs go on asking as a page does, "
        f"{1000 * DRAWING:.0f} ms after each answer. 95th percentile of a round, median of {ROUNDS} rounds, "
        f"{min(worst):.0f} to {max(worst):.0f}; the first session had its samples after "
        f"{median(one[0] for one in times):.0f}, half of them after {median(median(one) for one in times):.0f}.",
        f"at most {bar}",
    )  # fmt: skip


MEASURES: Measures = {
    "class.first_data_ms.own.p95": partial(first_data, "own", 700),
    "class.first_data_ms.shared.p95": partial(first_data, "shared", 100),
}
