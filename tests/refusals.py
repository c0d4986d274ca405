"""What is refused is said: the message of a `ValueError`."""

from collections.abc import Callable

import pytest


def refused(make: Callable[[], object], *words: str) -> str:
    """The message, which must have all of these words in it."""
    with pytest.raises(ValueError) as caught:
        make()
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert len(message) < 400
    return message
