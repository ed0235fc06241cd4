"""How long a venue asks to wait."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MOST = 3 * 86_400.0  # the longest ban that a venue announces
_UNKNOWN_DATE = 60.0  # for a date that cannot be compared with anything


def retry_after(headers: Mapping[str, str], now: Callable[[], int] | None = None) -> float | None:
    """Return the seconds of a Retry-After, given as such or as a date; None without one.

    A date is compared with the answer's own Date, so that our clock does not matter; without
    one with `now` (UNIX ns). Never more than 3 days.

    >>> retry_after({"retry-after": "120"})
    120.0
    >>> date = "Wed, 21 Oct 2026 07:28:00 GMT"
    >>> retry_after({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": date})
    30.0
    """
    told = headers.get("retry-after", "").strip()
    if not told:
        return None
    try:
        seconds = float(told)
    except ValueError:
        until = _moment(told)
        if until is None:
            return None
        since = _moment(headers.get("date", ""))
        if since is None and now is not None:
            since = now() / 1e9
        seconds = _UNKNOWN_DATE if since is None else until - since
    return min(max(seconds, 0.0), _MOST) if math.isfinite(seconds) else None


def _moment(date: str) -> float | None:
    try:
        found: datetime = parsedate_to_datetime(date)
        return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
