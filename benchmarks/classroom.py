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

from benchmarks.measurement import Measurement, Measures
from benchmarks.served import high, server
from ui.scenario import default, write

SESSIONS, ROUNDS = 30, 3
DRAWING = 0.05  # s that a page takes to draw before it asks for more, at least
LIMIT = 60  # s for one round
_new = count(1000)  # first seeds: each race that is to be new gets its own


class Session:
    """One page, as the server sees it."""

    def __init__(self, socket: ClientConnection, seed: int) -> None:
        self.socket = socket
        self.query = urlencode(write(default()) | {"seed": str(seed)})
        self.component = self.fragment = self.run = ""
        self.have: dict[str, int] = {}
        self.first: float | None = None  # seconds from the request to the first samples

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
            if kind == "delta" and message.delta.new_element.WhichOneof("type") == "bidi_component":
                self.take(message, now)
            elif kind == "script_finished" and self.component:
                await asyncio.sleep(DRAWING if self.have else 0)
                await self.ask(pull={"run": self.run, "have": self.have, "at": 1})

    def take(self, message: ForwardMsg, now: float) -> None:
        """What static/live.js would note of a message."""
        element = message.delta.new_element.bidi_component
        self.component, self.fragment = element.id, message.delta.fragment_id
        told: dict[str, Any] = json.loads(element.json)
        self.run = told["run"]
        self.have |= {block["track"]: block["to"] for block in told["blocks"]}
        if self.first is None and self.have.get("loss", 0) > 0:
            self.first = now

    async def ask(self, pull: dict[str, Any] | None = None) -> None:
        message = BackMsg()
        message.rerun_script.query_string = self.query
        if pull:
            message.rerun_script.fragment_id = self.fragment
            events = json.dumps([{"event": "pull", "value": pull}])
            told = WidgetState(id=_make_trigger_id(self.component, "events"), json_trigger_value=events)
            message.rerun_script.widget_states.widgets.append(told)
        await self.socket.send(message.SerializeToString())


async def round_of(address: str, seeds: Sequence[int]) -> list[float]:
    """One page for each seed: all connect, then all ask at once. Seconds to the first samples of each."""
    stream = address.replace("http", "ws", 1) + "/_stcore/stream"
    sockets = [
        await connect(stream, subprotocols=["streamlit"], max_size=None, compression=None, proxy=None)  # type: ignore[list-item]
        for _ in seeds
    ]
    try:
        sessions = [Session(socket, seed) for socket, seed in zip(sockets, seeds, strict=True)]

        def enough() -> bool:
            return all(session.first is not None for session in sessions)

        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*(session.show(enough) for session in sessions))
        return [session.first for session in sessions if session.first is not None]
    finally:
        for socket in sockets:
            await socket.close()


@lru_cache(maxsize=1)
def rounds() -> dict[str, list[list[float]]]:
    """Seconds to the first samples of each session, in each round, each its own race and one race for all."""
    found: dict[str, list[list[float]]] = {"own": [], "shared": []}
    with server() as address:
        for _ in range(2):  # what the first visitors pay for
            asyncio.run(round_of(address, [next(_new) for _ in range(4)]))
        for _ in range(ROUNDS):
            found["own"].append(asyncio.run(round_of(address, [next(_new) for _ in range(SESSIONS)])))
            seed = next(_new)
            asyncio.run(round_of(address, [seed]))
            found["shared"].append(asyncio.run(round_of(address, [seed] * SESSIONS)))
    return found


