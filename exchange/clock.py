"""The venue's own time, driven by the monotonic clock: the wall clock's steps do not reach it.

Everything that the venue serves is placed on a schedule that starts at 0 and runs `speed` times
as fast as real time. Venue time is what the venue tells its clients and writes into E and T:

- recorded: venue time starts at the recording's own time and runs as fast as the schedule, so
  that recorded bytes are true as they stand;
- live: venue time is the present and runs as fast as real time whatever the schedule's speed,
  so E and T are rewritten.
"""

import time
from collections.abc import Callable
from enum import StrEnum

__all__ = ["ClockMode", "VenueClock"]

SECOND = 1_000_000_000
MILLISECOND = 1_000_000


class ClockMode(StrEnum):
    """Which time the venue tells."""

    RECORDED = "recorded"
    LIVE = "live"


class VenueClock:
    """Tell the venue's time (UNIX ns) and how far the schedule has run (ns from its start).

    `monotonic` and `wall` give ns and can be replaced in tests. A clock that was not started
    stands at its start.
    """

    def __init__(
        self,
        recorded_start: int = 0,
        speed: float = 1.0,
        mode: ClockMode = ClockMode.RECORDED,
        *,
        monotonic: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        """Make a clock that stands.

        Raises:
            ValueError: `speed` is not positive.
        """
        if not speed > 0:
            raise ValueError(f"speed must be positive, not {speed}")
        self.mode = mode
        self.speed = speed
        self.recorded_start = recorded_start
        self._monotonic = monotonic
        self._wall = wall
        self._begun: int | None = None
        self._live_start = wall()

    @property
    def running(self) -> bool:
        """Whether the clock was started."""
        return self._begun is not None

    @property
    def start(self) -> int:
        """Venue time (UNIX ns) at the schedule's start."""
        return self.recorded_start if self.mode is ClockMode.RECORDED else self._live_start

    def run(self) -> None:
        """Start the clock; a clock that runs goes on as it was."""
        if self._begun is None:
            self._live_start = self._wall()
            self._begun = self._monotonic()

    def real_elapsed(self) -> int:
        """Tell the real time since the start (ns)."""
        return 0 if self._begun is None else self._monotonic() - self._begun

    def position(self) -> int:
        """Tell how far the schedule has run (ns of recorded time)."""
        elapsed = self.real_elapsed()
        return elapsed if self.speed == 1.0 else int(elapsed * self.speed)

    def now(self) -> int:
        """Tell venue time (UNIX ns)."""
        return self.at(self.position())

    def now_ms(self) -> int:
        """Tell venue time in UNIX milliseconds, as Binance does."""
        return self.now() // MILLISECOND

    def elapsed_seconds(self) -> float:
        """Tell the seconds of venue time since the start."""
        return (self.now() - self.start) / SECOND

    def at(self, position: int) -> int:
        """Tell the venue time (UNIX ns) at which the schedule stands at `position`."""
        if self.mode is ClockMode.RECORDED:
            return self.recorded_start + position
        return self._live_start + (position if self.speed == 1.0 else int(position / self.speed))

    def position_at(self, venue_time: int) -> int:
        """Tell where the schedule stands at `venue_time` (UNIX ns); the inverse of `at`."""
        if self.mode is ClockMode.RECORDED:
            return venue_time - self.recorded_start
        offset = venue_time - self._live_start
        return offset if self.speed == 1.0 else int(offset * self.speed)

    def real_seconds(self, venue_seconds: float) -> float:
        """Tell how many real seconds `venue_seconds` of venue time take."""
        return venue_seconds / self.speed if self.mode is ClockMode.RECORDED else venue_seconds
