"""The server: Streamlit's app with workers that are warm before the first visitor comes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st

from ui.live import races


@asynccontextmanager
async def warm(_: st.App) -> AsyncIterator[None]:
    """Start the workers while the server starts, and take what is imported by now out of the garbage collector."""
    warming = asyncio.get_running_loop().run_in_executor(None, races().warm)
    gc.collect()
    gc.freeze()
    yield
    warming.cancel()
    races().close()


app = st.App("app.py", lifespan=warm)
