"""The store behind a strict rate limit: a moving window by a clock that never steps."""

from collections import deque
from collections.abc import Callable
from typing import NoReturn

from limits.storage import MovingWindowSupport, Storage


class MonotonicWindow(Storage, MovingWindowSupport):
    """What a moving window of `limits` holds, by a clock that never steps.

    The library's own store stamps by the wall clock: a step forwards of an hour would forget
    a window that is still running. Entries are (time, cost); times in ms, as the item's.
    """

    STORAGE_SCHEME = None
    base_exceptions = ()

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin empty; `clock` gives seconds."""
        super().__init__()
        self._clock = clock
        self._entries: deque[tuple[float, int]] = deque()
        self._used = 0

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:  # noqa: ARG002 - the library's signature
        """Take `amount` if the window has room for it."""
        now = self._expire(expiry)
        if self._used + amount > limit:
            return False
        self._entries.append((now, amount))
        self._used += amount
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002 - the library's signature
        """Return when the window's oldest entry came, and what is used of it."""
        now = self._expire(expiry)
        return (self._entries[0][0] if self._entries else now), self._used

    def free_in(self, limit: int, expiry: int, amount: int) -> float:
        """Return the milliseconds until `amount` fits."""
        now = self._expire(expiry)
        used = self._used
        wait = 0.0
        for at, cost in self._entries:
            if used + amount <= limit:
                break
            used -= cost
            wait = at + expiry - now
        return wait

    def _expire(self, expiry: int) -> float:
        now = self._clock() * 1000.0
        # An entry exactly one window old still counts: the venue may count both ends.
        while self._entries and now - self._entries[0][0] > expiry:
            self._used -= self._entries.popleft()[1]
        return now

    def reset(self) -> int:
        """Forget every entry; return how many there were."""
        held = len(self._entries)
        self._entries.clear()
        self._used = 0
        return held

    def clear(self, key: str) -> None:  # noqa: ARG002 - the library's signature
        """Forget every entry."""
        self.reset()

    def check(self) -> bool:
        """Say that memory is always there."""
        return True

    def get(self, key: str) -> int:  # noqa: ARG002 - the library's signature
        """Return what is used of the window."""
        return self._used

    def get_expiry(self, key: str) -> float:  # noqa: ARG002 - the library's signature
        """Return when the oldest entry came."""
        return self._entries[0][0] if self._entries else self._clock() * 1000.0

    def incr(self, key: str, expiry: int, amount: int = 1) -> NoReturn:
        """Refuse what a moving window does not have."""
        raise NotImplementedError("a moving window only")
