"""The server: Streamlit's app with workers that are warm before the first visitor comes."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from core import adapter, plugins
from core.tasks import brought
from ui.live import races
from ui.scenario import default

# Until app.py has run once, Streamlit takes the folder pages/ for the navigation, and who comes first by a link to a
# page would be given that file without app.py.
PagesManager.uses_pages_directory = False


@asynccontextmanager
async def warm(_: st.App) -> AsyncIterator[None]:
    """Start the workers and read the first screen's data while the server starts, and take what is imported by now out
    of the garbage collector.
    """
    loop = asyncio.get_running_loop()
    warming = [loop.run_in_executor(None, begin) for begin in (races().warm, default)]
    gc.collect()
    gc.freeze()
    yield
    for begun in warming:
        begun.cancel()
    races().close()
    brought.leave()


adapter.load(os.environ.get(adapter.VARIABLE, ""))
plugins.load(os.environ.get(plugins.VARIABLE, ""))
app = st.App("app.py", lifespan=warm)
