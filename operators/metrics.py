"""How long stages take, kept cheaply enough to time every message, and what they measure.

These are measurements beside the stream: nothing that is decided ever reads them.
"""

import threading


class Timer:
    """Durations in logarithmic buckets, eight to a doubling (at most 12 % apart).

    >>> timer = Timer()
    >>> for microseconds in range(1, 101):
    ...     timer.add(microseconds * 1000)
    >>> timer.count
    100
    >>> 48 < timer.quantile_ms(0.5) * 1000 < 55
    True
    """

    __slots__ = ("buckets", "count", "total_ns")

    def __init__(self) -> None:
        self.buckets = [0] * (64 * 8)
        self.count = 0
        self.total_ns = 0

    def add(self, nanoseconds: int) -> None:
        """Record one duration; under 8 ns counts as 8 ns."""
        value = max(nanoseconds, 8)
        bits = value.bit_length()
        self.buckets[bits * 8 + ((value >> (bits - 4)) & 7)] += 1
        self.count += 1
        self.total_ns += nanoseconds

    def quantile_ms(self, q: float) -> float:
        """Return the upper edge, in milliseconds, of the bucket that holds quantile `q`."""
        wanted = q * self.count
        seen = 0
        for index, n in enumerate(self.buckets):
            seen += n
            if n and seen >= wanted:
                bits, eighth = divmod(index, 8)
                return float((9 + eighth) << (bits - 4)) * 1e-6
        return 0.0


_timers: dict[str, Timer] = {}
_gauges: dict[tuple[str, str], float] = {}  # by name and what it is of
_lock = threading.Lock()


def timer(stage: str) -> Timer:
    """Return this process's timer of `stage`, made at first use."""
    with _lock:
        return _timers.setdefault(stage, Timer())


def timers() -> dict[str, Timer]:
    """Return all timers by stage."""
    return dict(_timers)


def set_gauge(name: str, of: str, value: float) -> None:
    """Note what was measured last; a name ends in its unit where it has one."""
    _gauges[name, of] = value


def gauges() -> dict[tuple[str, str], float]:
    """Return what was measured last, by name and what it is of."""
    return dict(_gauges)


def reset() -> None:
    """Forget all that was measured; for a new run in the same process."""
    _timers.clear()
    _gauges.clear()
