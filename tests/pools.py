"""Races without worker processes, for tests that are about something else, or about the order of things."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from ui.races import Races


def settle(future: Future[Any], function: Callable[..., Any], args: Sequence[Any]) -> None:
    """Call the function and give the future what comes of it."""
    try:
        result = function(*args)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)


class InlineRaces(Races):
    """What is asked for is done at once, in this process."""

    def _submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        settle(future, function, args)
        return future


class Waiting(Races):
    """Races whose slices wait until the test has them done, in the order they were asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.queue: list[tuple[Future[Any], Callable[..., Any], Sequence[Any]]] = []

    def _submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.queue.append((future, function, args))
        self._jobs.append(future)
        return future

    def work(self) -> None:
        """Do the next slice that nobody took back."""
        while self.queue:
            future, function, args = self.queue.pop(0)
            if future.set_running_or_notify_cancel():
                settle(future, function, args)
                return
