"""A cache that is bounded in bytes."""

import threading

import pytest

from core.cache import Cache


def test_what_is_asked_for_again_is_not_made_again() -> None:
    cache: Cache[bytes] = Cache(100, len)
    made = cache.get("a", lambda: bytes(40))
    assert cache.get("a", lambda: pytest.fail("made twice")) is made
    assert (len(cache), cache.bytes) == (1, 40)


def test_the_least_recently_used_goes_first_and_the_newest_stays_whatever_its_size() -> None:
    cache: Cache[bytes] = Cache(100, len)
    for name in "abc":
        cache.get(name, lambda: bytes(40))
        cache.get("a", lambda: bytes(40))
    kept = [name for name in "abc" if cache.get(name, lambda: bytes(0))]
    assert kept == ["a", "c"]
    cache.get("large", lambda: bytes(1000))
    assert (len(cache), cache.bytes) == (1, 1000)
    cache.get("small", lambda: bytes(1))
    assert (len(cache), cache.bytes) == (1, 1)


def test_what_fails_is_not_kept_and_some_can_be_dropped() -> None:
    cache: Cache[bytes] = Cache(100, len)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: bytes(1 // 0))
    cache.get("a", lambda: bytes(3))
    cache.get("b", lambda: bytes(4))
    cache.keep(lambda key: key == "b")
    assert (len(cache), cache.bytes) == (1, 4)


def test_two_threads_that_make_the_same_count_it_once() -> None:
    cache: Cache[bytes] = Cache(100, len)
    together = threading.Barrier(2)

    def make() -> bytes:
        together.wait(10)
        return bytes(7)

    threads = [threading.Thread(target=cache.get, args=("a", make)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(cache), cache.bytes) == (1, 7)
