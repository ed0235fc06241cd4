"""When a log is shorter than what was read of it."""

import time

_SECONDS = 5.0


class Shorter:
    """Tell a broker that came back empty from a new leader that lags for a moment.

    Both say that a log ends before what we have read of it; only the first goes on saying so.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.since: float | None = None

    def stays(self, end: int | None, read: int) -> bool:
        """Say whether the log, read up to `read`, has ended at a smaller `end` for a while."""
        if end is None or end >= read:
            self.since = None
            return False
        now = time.monotonic()
        if self.since is None:
            self.since = now
        return now - self.since >= _SECONDS
