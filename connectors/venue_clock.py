"""A clock that runs from an origin of its own: a venue's time, or a market day played again.

Live feeds and sequencer share one clock, so that receipt and Clocks agree. Most runs use the
machine's (`time.time_ns`); this one is for a machine whose clock cannot be trusted, for a
venue that replays a recorded day, and for the simulated market outside its hours.
"""

from collections.abc import Callable
from time import CLOCK_BOOTTIME, clock_gettime_ns


def _since_boot() -> int:
    """Return ns since the machine was started, those in which it slept included."""
    return clock_gettime_ns(CLOCK_BOOTTIME)


class VenueClock:
    """UNIX ns that were `origin` when it was made, and pass at `speed` times ours.

    It never steps: it is driven by the monotonic clock, which nobody sets.

    >>> ticking = iter([0, 1_000_000_000])
    >>> clock = VenueClock(50, speed=2.0, monotonic=lambda: next(ticking))
    >>> clock()
    2000000050
    """

    def __init__(
        self, origin: int, speed: float = 1.0, monotonic: Callable[[], int] = _since_boot
    ) -> None:
        """Start the clock now."""
        self.origin = origin
        self.speed = speed
        self.monotonic = monotonic
        self._began = monotonic()

    def __call__(self) -> int:
        """Return the time, in UNIX ns."""
        return self.origin + int((self.monotonic() - self._began) * self.speed)
