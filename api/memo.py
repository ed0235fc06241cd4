"""Answers that many want at a time, made once for all of them."""

import time
from collections.abc import Callable, Hashable
from threading import Lock

_SECONDS = 0.5  # that an answer is given again: a row may come late, into a close that was told


class Memo[T]:
    """Answers by what was asked; while one is made, whoever asks waits for it.

    >>> memo = Memo[int]()
    >>> memo.get("answer", lambda: 42), memo.get("answer", lambda: 43)
    (42, 42)
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._lock = Lock()
        self._held: dict[Hashable, tuple[float, T]] = {}

    def get(self, asked: Hashable, make: Callable[[], T]) -> T:
        """Return what was answered just now, or what `make` makes; its errors are not kept."""
        with self._lock:
            now = time.monotonic()
            self._held = {
                key: (until, made) for key, (until, made) in self._held.items() if until > now
            }
            if asked not in self._held:
                made = make()
                self._held[asked] = (time.monotonic() + _SECONDS, made)
            return self._held[asked][1]
