"""Prices of US shares from recorded one-minute bars, re-timed to the venue's clock.

The bars are real (five sessions from Monday 2019-02-11); the times at which they are served
are not. Each bar gives four prints: its open, its high and low, its close, at moments of the
bar that a seeded jitter shifts. No price is ever drawn, interpolated or shifted. A minute
without a bar is a quiet minute.

- calendar: the session of a weekday is served in the regular hours of that weekday by the
  exchange's calendar (half-days end early). Outside, Yahoo streams pre- and post-market
  prices, which nobody recorded here: the session's bars are served backwards from the open
  and from the close, so that the price joins, every third minute, without volume.
- continuous: the five sessions follow one another from `origin` on without nights or weekends,
  all of it regular hours, then begin again; a bar may be squeezed into less than a minute.
"""

import csv
import random
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple

from exchange.prints import EQUITY, ETF, INDEX, MINUTE, POST, PRE, REGULAR, SECOND, Print
from models.calendars import sessions

__all__ = ["BARS", "Hours", "SharePrices"]

type Hours = Literal["calendar", "continuous"]

BARS = Path(__file__).parents[1] / "data/bars/eqker_us_1m_2019-02-11_15"
_DATES = {f"2019-02-{day}": day - 11 for day in range(11, 16)}  # Monday to Friday
_OPEN_MINUTE = 9 * 60 + 30
_MINUTES = 390
_DAYS = 5
_PRE_MINUTES, _POST_MINUTES = 330, 240  # Yahoo streams from 04:00 to 20:00 Eastern
_THIN = 3  # outside regular hours, one minute of so many has prints
_LOOK_BACK = 5 * 24 * 60  # minutes: over a long weekend to the last regular print
_FIVE_HOURS = timedelta(hours=5)

_ETFS = frozenset(["GLD", "PPLT", "QQQ", "SLV", "SPY", "TZA", "UGA", "VOO", "VXXB", "XLP"])
_EXCHANGES = {
    **dict.fromkeys(["AAPL", "AMZN", "MSFT", "MU", "SBUX", "TSLA"], "NMS"),
    **dict.fromkeys(["GLD", "PPLT", "SLV", "SPY", "TZA", "UGA", "VOO", "XLP"], "PCX"),
    "QQQ": "NGM",
    "VXXB": "BTS",
    "VIX": "WCB",
}
_OTHER_EXCHANGE = "NYQ"


class _Bar(NamedTuple):
    open: float
    high: float
    low: float
    close: float
    volume: int
    # What the day had seen before this bar.
    volume_before: int
    high_before: float
    low_before: float


class _Day(NamedTuple):
    open: float
    close: float
    bars: dict[int, _Bar]  # by minute from the open; a quiet minute has none


class _Slot(NamedTuple):
    """Which recorded bar is served in which stretch of venue time."""

    day: int
    minute: int
    market_hours: int
    start: int
    length: int
    until: int  # outside regular hours: the minutes of the session that count as its past


class SharePrices:
    """The recorded shares; names are as Yahoo has them, with "^VIX" for the index."""

    def __init__(
        self,
        folder: Path = BARS,
        *,
        hours: Hours = "calendar",
        origin: Callable[[], int] = lambda: 0,
        bar_seconds: float = 60.0,
        seed: int = 0,
    ) -> None:
        """Read the bars.

        `origin` (which tells a venue time, ns) and `bar_seconds` matter to continuous hours
        only: a calendar's minutes are minutes.

        Raises:
            ValueError: `bar_seconds` is below a twentieth of a second, or a session is missing.
            FileNotFoundError: there are no bars in `folder`.
        """
        if bar_seconds < 0.05:
            raise ValueError(f"bar_seconds must be at least 0.05, not {bar_seconds}")
        self._hours = hours
        self._origin = origin
        self._length = int(bar_seconds * SECOND)
        self._seed = seed
        self._days = _read_all(folder)
        if hours == "calendar":
            _session_near(origin())  # reads the calendar now and not when prices are asked for

    @property
    def symbols(self) -> tuple[str, ...]:
        """All names that have prices."""
        return tuple(self._days)

    def prints(self, symbol: str, after: int, until: int) -> list[Print]:
        """Return the prints of `symbol` in (after, until], in order; times in ns."""
        found: list[Print] = []
        moment = after
        while moment <= until:
            slot = self._slot(moment)
            if slot is None:
                moment = (moment // MINUTE + 1) * MINUTE
                continue
            found += [p for p in self._of_slot(symbol, slot) if after < p.ts <= until]
            moment = slot.start + slot.length
        return found

    def last_regular(self, symbol: str, now: int) -> Print | None:
        """Return the newest print of regular hours up to `now`, if there was one for days."""
        moment = now
        for _ in range(_LOOK_BACK):
            slot = self._slot(moment)
            if slot is not None and slot.market_hours == REGULAR:
                prints = self._of_slot(symbol, slot)
                place = bisect_right(prints, now, key=lambda p: p.ts)
                if place:
                    return prints[place - 1]
            step = slot.start if slot is not None else moment // MINUTE * MINUTE
            moment = step - 1
        return None

    def _slot(self, moment: int) -> _Slot | None:
        if self._hours == "continuous":
            origin = self._origin()
            number = (moment - origin) // self._length
            start = origin + number * self._length
            day = number // _MINUTES % _DAYS
            return _Slot(day, number % _MINUTES, REGULAR, start, self._length, _MINUTES)
        opens, closes, day = _session_near(moment)
        if opens == closes:
            return None
        until = (closes - opens) // MINUTE
        if opens <= moment < closes:
            minute = (moment - opens) // MINUTE
            return _Slot(day, minute, REGULAR, opens + minute * MINUTE, MINUTE, until)
        before = (opens - moment - 1) // MINUTE
        if 0 <= before < min(_PRE_MINUTES, until) and before % _THIN == 0:
            return _Slot(day, before, PRE, opens - (before + 1) * MINUTE, MINUTE, until)
        since = (moment - closes) // MINUTE
        if 0 <= since < min(_POST_MINUTES, until) and since % _THIN == 0:
            return _Slot(day, until - 1 - since, POST, closes + since * MINUTE, MINUTE, until)
        return None

    def _of_slot(self, symbol: str, slot: _Slot) -> list[Print]:
        days = self._days.get(symbol)
        bar = None if days is None else days[slot.day].bars.get(slot.minute)
        if days is None or bar is None:
            return []
        day = days[slot.day]
        middle = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
        prices = [bar.open, *middle, bar.close]
        share = bar.volume // len(prices)
        volumes = [share] * 3 + [bar.volume - 3 * share]
        traded = list(accumulate(volumes, initial=bar.volume_before))[1:]
        highs = list(accumulate(prices, max, initial=bar.high_before))
        lows = list(accumulate(prices, min, initial=bar.low_before))
        if slot.market_hours != REGULAR:
            past = _past(day, slot.until) if slot.market_hours == POST else (0, 0.0, 0.0)
            prices.reverse()
            traded, highs, lows = [past[0]] * 4, [past[1]] * 5, [past[2]] * 5
        draw = random.Random(f"{self._seed}:{symbol}:{slot.start}")  # noqa: S311 - a replay's jitter
        return [
            Print(
                symbol=symbol,
                ts=slot.start + int((place + 0.3 + 0.4 * draw.random()) / 4 * slot.length),
                price=price,
                day_volume=traded[place],
                day_open=0.0 if slot.market_hours == PRE else day.open,
                day_high=highs[place + 1],
                day_low=lows[place + 1],
                previous_close=days[(slot.day - 1) % _DAYS].close,
                market_hours=slot.market_hours,
                quote_type=_quote_type(symbol),
                exchange=_EXCHANGES.get(symbol.removeprefix("^"), _OTHER_EXCHANGE),
                extreme=highs[place + 1] != highs[place] or lows[place + 1] != lows[place],
            )
            for place, price in enumerate(prices)
        ]


def _yahoo_name(path: Path) -> str:
    name = path.name.removesuffix("_1min.csv")
    return "^VIX" if name == "VIX" else name


def _quote_type(symbol: str) -> int:
    if symbol.startswith("^"):
        return INDEX
    return ETF if symbol in _ETFS else EQUITY


def _past(day: _Day, until: int) -> tuple[int, float, float]:
    """Tell volume, high and low of a day's first `until` minutes."""
    bars = [bar for minute, bar in day.bars.items() if minute < until]
    if not bars:
        return 0, 0.0, 0.0
    return sum(b.volume for b in bars), max(b.high for b in bars), min(b.low for b in bars)


@lru_cache(maxsize=2)
def _read_all(folder: Path) -> dict[str, list[_Day]]:
    days = {_yahoo_name(path): _read(path) for path in sorted(folder.glob("*_1min.csv"))}
    if not days:
        raise FileNotFoundError(f"{folder} holds no bars of the form AAPL_1min.csv")
    return days


def _read(path: Path) -> list[_Day]:
    """Read a file, newest row first, each row named by its bar's close in Eastern time."""
    rows: list[dict[int, tuple[float, ...]]] = [{} for _ in range(_DAYS)]
    with path.open(newline="") as lines:
        reader = csv.reader(lines)
        next(reader)  # datetime, open, high, low, close, volume
        for closed, *numbers in reader:
            day = _DATES.get(closed[:10])
            minute = int(closed[11:13]) * 60 + int(closed[14:16]) - 1 - _OPEN_MINUTE
            if day is not None and 0 <= minute < _MINUTES:
                rows[day][minute] = tuple(map(float, numbers))
    return [_day(by_minute, path) for by_minute in rows]


def _day(rows: dict[int, tuple[float, ...]], path: Path) -> _Day:
    if not rows:
        raise ValueError(f"{path} lacks one of the five sessions from 2019-02-11")
    ordered = sorted(rows)
    first, last = rows[ordered[0]], rows[ordered[-1]]
    bars: dict[int, _Bar] = {}
    # Before its first print a day has no high and no low: the first price is both.
    volume, high, low = 0, float("-inf"), float("inf")
    for minute in ordered:
        o, h, lo, c, v = rows[minute]
        bars[minute] = _Bar(o, h, lo, c, int(v), volume, high, low)
        volume, high, low = volume + int(v), max(high, o, h), min(low, o, lo)
    return _Day(first[0], last[3], bars)


def _session_near(moment: int) -> tuple[int, int, int]:
    """Tell open and close (ns) of the New York session of a moment's day, and its weekday."""
    # Five hours west of Greenwich a trading day from 04:00 to 20:00 lies within one date.
    local = datetime.fromtimestamp(moment // SECOND, UTC) - _FIVE_HOURS
    return _session_of(local.year, local.month, local.day)


@lru_cache(maxsize=64)
def _session_of(year: int, month: int, day: int) -> tuple[int, int, int]:
    date = datetime(year, month, day, tzinfo=UTC)
    begin = int(date.timestamp()) * SECOND
    closes = sessions("XNYS").grid(begin, begin + 24 * 60 * MINUTE, MINUTE)
    if not closes:
        return 0, 0, 0
    return closes[0] - MINUTE, closes[-1], date.weekday()
