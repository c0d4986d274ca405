"""What the tests share: one thread a process, and a served app with a browser to look at it."""

import os

for _library in ("OMP", "MKL", "OPENBLAS"):  # read when torch and numpy are loaded, hence first
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, Page, WebSocket, sync_playwright

from benchmarks.served import CHROMIUM_FLAGS, CHROMIUM_NAMES, ROOT, free_port

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for the browser or the server."""
    for item in items:
        if {"browser", "server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app, served on a free loopback port: its address, without a slash at the end."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "streamlit", "run", "serve.py"]
    options = ["--server.port", str(port), "--server.address", "127.0.0.1"]
    with log.open("w") as output:
        process = subprocess.Popen([*command, *options], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_healthy(address, process, log)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(address: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    pytest.fail(f"the app did not come up; its log ends:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, the one that is installed. Without it: a failure in CI, elsewhere a skip."""
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if executable is None:
        sentence = f"no browser: the page can only be tested where one of {', '.join(CHROMIUM_NAMES)} is installed"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def console_errors() -> list[str]:
    """What the pages of this test wrote to the console as an error, or failed with."""
    return []


@pytest.fixture
def received() -> list[int]:
    """Bytes of each message that the pages of this test were sent over their websockets."""
    return []


@pytest.fixture
def page(
    browser: Browser, server: str, console_errors: list[str], received: list[int]
) -> Iterator[Callable[..., Page]]:
    """A function that opens a path of the app: ``page("/", width=390, height=844, dark=True)``."""
    contexts: list[BrowserContext] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda payload: received.append(len(payload)))

    def open_page(path: str = "/", *, width: int = 1440, height: int = 900, dark: bool = False) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        opened = context.new_page()
        opened.on("websocket", listen)
        opened.on("pageerror", lambda error: console_errors.append(str(error)))
        opened.on(
            "console",
            lambda message: console_errors.append(message.text) if message.type == "error" else None,
        )
        opened.goto(server + path)
        return opened

    yield open_page
    for context in contexts:
        context.close()
