"""When a market trades: sessions, early closes, holidays and the grid of bar closes.

Exchange hours come from the exchange_calendars package, which is imported only when a
market that closes is asked for. Times are UNIX nanoseconds UTC.
"""

import warnings
from bisect import bisect_left
from datetime import UTC, date, datetime
from functools import cache
from threading import Lock
from typing import Any, NamedTuple

DAY = 86_400_000_000_000
ALWAYS_OPEN = "24/7"
_YEARS = range(1970, 2201)  # a time outside is rubbish input, and has no session
# Sources: JPX, "Extension of Trading Hours" (2011), "Revision of Trading Rules" (arrowhead).
_LUNCH_AT_1130 = date(2011, 11, 21)
_FULL_LAST_SESSION = date(2009, 12, 30)
_QUIETLY = Lock()

type Hours = tuple[tuple[int, int], ...]


class CalendarError(ValueError):
    """A calendar name that no exchange has."""


class Session(NamedTuple):
    """Where in its session a bar stands.

    `session_index` is 0 for the first bar; `session_left` counts the bars still to come
    (None where trading never closes); `session_fraction`, in (0, 1], is what has passed.
    `opens` and `closes` bound the session, or the UTC day.
    """

    session_index: int
    session_left: int | None
    session_fraction: float
    opens: int
    closes: int


class _Run(NamedTuple):
    """Consecutive bars of one session: their closes lie in (after, until], on the grid."""

    after: int
    until: int
    first: int  # index in the session of the run's first bar
    bars: int  # of the whole session
    opens: int
    closes: int


class Calendar:
    """The sessions of one market; get one from `sessions`.

    A bar that closes at T covers [T - interval, T), with T a multiple of the interval. It is
    in session when it overlaps trading hours. The bars of a lunch break are outside, and
    are not counted.

    >>> always = sessions("24/7")
    >>> always.session_of(60 * 10**9, 60 * 10**9)[:3]
    (0, None, 0.0006944444444444445)
    >>> always.grid(0, 3 * 10**9, 10**9)
    [1000000000, 2000000000, 3000000000]
    """

    def __init__(self, name: str) -> None:
        """Make the calendar called `name`: "24/7", or an exchange's code such as "XNYS"."""
        self.name = name
        self._runs: dict[tuple[int, int], list[_Run]] = {}
        self._current: dict[int, _Run] = {}
        if name != ALWAYS_OPEN:
            _exchange(name, 2020)

    def session_of(self, ts_close: int, interval: int) -> Session | None:
        """Return where the bar closing at `ts_close` stands, or None outside any session."""
        if self.name == ALWAYS_OPEN:
            opens = (ts_close - 1) // DAY * DAY  # the bar that closes at midnight ends its day
            passed = ts_close - opens
            return Session((passed - 1) // interval, None, passed / DAY, opens, opens + DAY)
        run = self._current.get(interval)
        if run is None or not run.after < ts_close <= run.until:
            run = self._find(ts_close, interval)
            if run is None:
                return None
            self._current[interval] = run
        index = run.first + (ts_close - run.after - 1) // interval
        fraction = min(1.0, (ts_close - run.opens) / (run.closes - run.opens))
        return Session(index, run.bars - index - 1, fraction, run.opens, run.closes)

    def grid(self, after: int, until: int, interval: int) -> list[int]:
        """Return every bar close in session in (after, until], in order."""
        if until <= after:
            return []
        if self.name == ALWAYS_OPEN:
            return list(range((after // interval + 1) * interval, until + 1, interval))
        closes: list[int] = []
        for year in range(max(_year(after), _YEARS[0]), min(_year(until), _YEARS[-1]) + 1):
            for run in self._runs_of(year, interval):
                begin = max(run.after, after // interval * interval)
                closes.extend(range(begin + interval, min(run.until, until) + 1, interval))
        return closes

    def _find(self, ts_close: int, interval: int) -> _Run | None:
        runs = self._runs_of(_year(ts_close), interval)
        place = bisect_left(runs, ts_close, key=lambda run: run.until)
        return runs[place] if place < len(runs) and runs[place].after < ts_close else None

    def _runs_of(self, year: int, interval: int) -> list[_Run]:
        """Return the runs of a year, those across its ends cut to the closes within it."""
        if year not in _YEARS:
            return []
        runs = self._runs.get((year, interval))
        if runs is None:
            begin, end = _start_of(year), _start_of(year + 1)
            runs = self._runs[year, interval] = []
            for spans in _exchange(self.name, year):
                for run in _runs_of_session(spans, interval):
                    after = max(run.after, (begin - 1) // interval * interval)
                    until = min(run.until, (end - 1) // interval * interval)
                    if after < until:
                        first = run.first + (after - run.after) // interval
                        runs.append(run._replace(after=after, until=until, first=first))
        return runs


@cache
def sessions(name: str) -> Calendar:
    """Return the calendar called `name`: "24/7", or an exchange's code such as "XNYS"."""
    return Calendar(name)


def _runs_of_session(spans: tuple[tuple[int, int], ...], interval: int) -> list[_Run]:
    runs: list[_Run] = []
    bars = 0
    for start, stop in spans:
        after = max(start // interval * interval, runs[-1].until if runs else 0)
        until = -(-stop // interval) * interval
        if after < until:
            runs.append(_Run(after, until, bars, 0, spans[0][0], spans[-1][1]))
            bars += (until - after) // interval
    return [run._replace(bars=bars) for run in runs]


@cache
def _exchange(name: str, year: int) -> list[Hours]:
    """Return the trading hours of the sessions that touch a year."""
    # A margin on both sides: sessions may span midnight UTC, and holidays the new year.
    return exchange_hours(name, date(year - 1, 12, 15), date(year + 1, 1, 15))


def exchange_hours(name: str, first: date, last: date) -> list[Hours]:
    """Return the trading hours of an exchange's sessions in [first, last]: one or two spans each.

    Empty for years before the exchange's hours are known.
    """
    import exchange_calendars  # noqa: PLC0415 - half a second that 24/7 markets need not pay

    try:
        # Its own warnings, about newer pandas. To ignore them is the process's matter, not a
        # thread's: who ends first would make the other's heard.
        with _QUIETLY, warnings.catch_warnings(action="ignore"):
            hours: Any = exchange_calendars.get_calendar(
                name, start=first.isoformat(), end=last.isoformat()
            ).schedule
    except exchange_calendars.errors.InvalidCalendarName as error:
        sentence = f'Calendar {name!r} is not known: use "24/7" or an exchange such as "XNYS".'
        raise CalendarError(sentence) from error
    except ValueError:
        return []
    names = ("open", "break_start", "break_end", "close")
    table = [hours[column].dt.as_unit("ns").astype("int64") for column in names]
    sessions_of: list[Hours] = [
        ((opens, stop), (start, closes)) if stop > 0 else ((opens, closes),)
        for opens, stop, start, closes in zip(*(c.tolist() for c in table), strict=True)
    ]
    return _as_tokyo_was(sessions_of) if name == "XTKS" else sessions_of


def _as_tokyo_was(known: list[Hours]) -> list[Hours]:
    """Correct what the package does not know of Tokyo's past.

    Lunch began at 11:00 until 2011-11-18. The first and the last session of a year ended with
    the morning, until 2009-12-30 was the first last session that did not. The sessions at
    either end of `known` are told by the year's turn being near.
    """
    corrected: list[Hours] = []
    for place, spans in enumerate(known):
        day = _day(spans[0][0])
        if day >= _LUNCH_AT_1130 or len(spans) == 1:
            corrected.append(spans)
            continue
        morning = (spans[0][0], spans[0][0] + 2 * 3600 * 10**9)
        before = _day(known[place - 1][0][0]).year if place else day.year - (day.day < 8)
        after = _day(known[place + 1][0][0]).year if place + 1 < len(known) else day.year
        half = day < _FULL_LAST_SESSION and (
            (day.month == 1 and before < day.year) or (day.month == 12 and after > day.year)
        )
        corrected.append((morning,) if half else (morning, spans[1]))
    return corrected


def _day(ts: int) -> date:
    return datetime.fromtimestamp(ts // 10**9, UTC).date()


def _year(ts: int) -> int:
    # Neither datetime nor the exchanges' hours reach as far as 64-bit nanoseconds do.
    days = ts // DAY
    if not 0 <= days < 84_000:
        return _YEARS[0] - 1 if days < 0 else _YEARS[-1] + 1
    return datetime.fromtimestamp(days * 86_400, UTC).year


def _start_of(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000_000
