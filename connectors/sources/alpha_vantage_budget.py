"""How many requests of the day's quota are left, and when there are more."""

from collections import deque
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from operators.messages import SECOND

_DAY = 86_400 * SECOND
_MARGIN = 60 * SECOND  # the venue's clock is not ours


class DailyBudget:
    """At most `limit` requests within any 24 hours. Feeds of one key share one.

    Alpha Vantage does not document when its day begins, and its users do not agree (midnight
    of UTC, or of New York). A window of 24 hours that moves is right whenever it does. Times are
    the venue's, in UNIX ns.

    >>> budget = DailyBudget(2)
    >>> budget.take(0), budget.take(60 * SECOND), budget.left(61 * SECOND)
    (None, None, 0)
    >>> budget.free_at(61 * SECOND) // SECOND  # a day, and a minute
    86460
    """

    def __init__(self, limit: int) -> None:
        """Begin with nothing used."""
        if limit < 1:
            raise ValueError(f"expected at least 1 request a day, found {limit}")
        self.limit = limit
        self._taken: deque[int] = deque()
        self._rests_until = 0

    def take(self, now: int) -> None:
        """Count a request; also one that the log before a restart tells of."""
        self._taken.append(now)
        if len(self._taken) > 1 and now < self._taken[-2]:
            self._taken = deque(sorted(self._taken))

    def left(self, now: int) -> int:
        """Return how many requests may be made now."""
        while self._taken and self._taken[0] + _DAY + _MARGIN <= now:
            self._taken.popleft()
        return 0 if now < self._rests_until else max(self.limit - len(self._taken), 0)

    def free_at(self, now: int) -> int:
        """Return from when on a request may be made: now, or later (ns)."""
        if self.left(now):
            return now
        since = len(self._taken) - self.limit
        oldest = self._taken[since] + _DAY + _MARGIN if since >= 0 else now
        return max(oldest, self._rests_until)

    def rest(self, now: int) -> int:
        """Take note that the venue counts more than we did; return until when to rest (ns).

        The sooner of the two midnights: if it was the other one, a single request finds out.
        """
        self._rests_until = min(_midnight(now, UTC), _midnight(now, ZoneInfo("America/New_York")))
        return self._rests_until


def _midnight(now: int, zone: tzinfo) -> int:
    """Return the next midnight of a zone, and a minute."""
    here = datetime.fromtimestamp(now // SECOND, zone)
    midnight = datetime.combine(here.date() + timedelta(days=1), datetime.min.time(), here.tzinfo)
    return int(midnight.timestamp()) * SECOND + _MARGIN
