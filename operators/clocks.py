"""Time and routing: infer Clocks where the log has none, and give every message its symbol.

The first stage that knows the universe. Everything downstream of it runs by symbol, so a
Clock is fanned out to every symbol's path, behind the messages that came before it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec

from operators.headlines import headline_of, renamed
from operators.messages import (
    SECOND,
    Clock,
    DeliveredBar,
    Hole,
    Notice,
    Quote,
    Reason,
    Rejection,
    Skipped,
    Switch,
    Tally,
    Tick,
)

type Keyed = tuple[str, Any]

UNKNOWN_KEPT = 1000  # rejections of unknown symbols that are kept with their payload
SKIPPED_NAMED = 50  # types that are counted by name; hostile input could invent any number
_SUPPORT = 3  # messages that must vouch for a time
_QUOTES_THAT_TELL = 20  # quotes without venue time that must follow each other over a second
_QUOTE_CURRENCIES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "EUR", "JPY")


class ClockSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How Clocks are inferred for a log that has none."""

    interval_ns: int = SECOND
    # How long a bar waits for its last messages. The shipped recording's slowest trade came
    # 220 ms behind its venue time.
    lateness_ns: int = 250_000_000
    # How far the recorder's clock ran behind the venue's.
    receive_offset_ns: int = 0
    # A venue time further than this from receipt drives nothing: one of the two is wrong.
    plausible_ns: int = 5 * SECOND
    # A leap over more bars than this is jumped: an hour of seconds.
    max_fill_bars: int = 3600
    infer: bool = True  # off where the sequencer writes Clocks itself
    shard: int = 0
    # What a venue calls a symbol of the universe, as "BTC-USD" for "BTCUSDT". Messages under
    # that name become ours.
    aliases: dict[str, str] = {}


@cache
def base_of(symbol: str) -> str:
    """Return what a symbol trades, without the currency it is quoted in.

    >>> [base_of(name) for name in ("BTCUSDT", "BTCUSD_PERP", "BTC-USD", "$btc", "AAPL", "USDT")]
    ['BTC', 'BTC', 'BTC', 'BTC', 'AAPL', 'USDT']
    """
    name = symbol.upper().removeprefix("$").partition("_")[0].replace("/", "").replace("-", "")
    for currency in _QUOTE_CURRENCIES:
        if name.endswith(currency) and len(name) > len(currency):
            return name.removesuffix(currency)
    return name


def matches(name: str, symbol: str) -> bool:
    """Say whether a headline's `name` means what `symbol` trades.

    >>> matches("BTC", "BTCUSDT"), matches("BTC-USD", "BTCUSD_PERP"), matches("ETH", "BTCUSDT")
    (True, True, False)
    """
    return name == symbol or base_of(name) == base_of(symbol)


@dataclass(slots=True)
class ClockState:
    """What was seen so far: the last Clock, the latest venue times, and counts."""

    closed: int = 0  # the last Clock, 0 before the first
    given: bool = False  # a Clock came in the log: none is inferred any more
    latest: list[int] = field(default_factory=list)  # the largest distinct times, ascending
    doubted: list[int] = field(default_factory=list)  # receive times no venue time vouches for
    received: int = 0  # ticks, quotes, bars and rejected entries, against which all is counted
    counts: dict[str, int] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)


class Clocks:
    """Route each message to its symbol as (symbol, message), and infer Clocks.

    Time is what three messages of distinct venue times vouch for, so that one wrong message
    moves nothing. Quotes without venue time have only their receipt's, and a recorder whose
    clock errs is wrong about all of them: if they leap, they wait for a venue time nearby, or
    for twenty of them over a second. What concerns no symbol rides the first symbol's path;
    rejections and tallies have the key "". A venue's own name of a symbol is replaced by ours.

    >>> from operators.messages import SECOND, Tick
    >>> clocks = Clocks(ClockSettings(), ("BTCUSDT",))
    >>> start = 1_723_161_255 * SECOND
    >>> def tick(after):
    ...     ts = start + after
    ...     return Tick(symbol="BTCUSDT", venue="binance", price=1.0, size=1.0, ts_event=ts,
    ...                 ts_init=ts, offset=0)
    >>> seconds = [0.1, 0.4, 0.9, 1.26, 1.27, 1.28]
    >>> for after in seconds:
    ...     [type(m).__name__ for _, m in clocks.on(tick(int(after * SECOND)))]
    ['Tick']
    ['Tick']
    ['Clock', 'Tick']
    ['Tick']
    ['Tick']
    ['Clock', 'Tick']
    >>> (clocks.state.closed - start) // SECOND
    1
    """

    def __init__(
        self, settings: ClockSettings, symbols: tuple[str, ...], *, mapped: bool = False
    ) -> None:
        """Take the universe in its fixed order; `mapped`: headlines name symbols of ours only."""
        self.mapped = mapped
        self.settings = settings
        self.symbols = symbols
        self.known = frozenset(symbols)
        self.aliases = {
            theirs: ours for theirs, ours in settings.aliases.items() if ours in self.known
        }
        self.state = ClockState()

    def on(self, message: Any) -> Iterable[Keyed]:  # noqa: PLR0911 - one for each type
        """Return `message` under its symbol, after any Clocks that it makes due."""
        kind = type(message)
        if kind is Tick or kind is Quote:
            symbol = message.symbol
            if symbol not in self.known:
                return self._foreign(message)
            self.state.received += 1
            ts = message.ts_event
            # Most messages are no news about time: only what is above the third latest is.
            latest = self.state.latest
            if len(latest) == _SUPPORT and ts <= latest[0]:
                return ((symbol, message),)
            due = self._advance(ts, message.ts_init, quoted=kind is Quote)
            return (*due, (symbol, message)) if due else ((symbol, message),)
        if kind is DeliveredBar:
            return self._delivered(message)
        if kind is Clock:
            return self._given(message)
        if kind is Notice:
            return self._notice(message)
        if kind is Hole or kind is Switch:
            return self._of_feed(message)
        if kind is Skipped:
            self._count(self._skipped_name(message.kind))
            return ()
        self.state.received += kind is Rejection
        return (("", message),)

    def on_end(self) -> Iterable[Keyed]:
        """Report how many messages came, and the counts that no Clock has reported yet."""
        received = Tally(key="clocks", name="received", count=self.state.received)
        return [*self._tallies(), ("", received)]

    def _delivered(self, message: DeliveredBar) -> Iterable[Keyed]:
        if message.symbol not in self.known:
            return self._foreign(message)
        if message.bar.interval != self.settings.interval_ns:
            self._count("ignored:bar of another interval")
            return ()
        self.state.received += 1
        due = self._advance(message.bar.ts_close, message.ts_init)
        return (*due, (message.symbol, message))

    # ---------------------------------------------------------------------------- time

    def _advance(self, ts: int, ts_init: int, *, quoted: bool = False) -> list[Keyed]:
        """Take one more time seen, and return the Clocks that are due by now."""
        state, settings = self.state, self.settings
        if state.given or not settings.infer:
            return []
        plausible = settings.plausible_ns
        ahead = ts - ts_init - settings.receive_offset_ns
        if abs(ahead) > plausible:
            return []
        if quoted and not ahead:  # normalise stamped it: the venue told no time
            return self._advance_by_receipt(ts)
        if not state.doubted:
            return self._note(ts)
        near = [time for time in state.doubted if abs(time - ts) <= plausible]
        state.doubted.clear()
        return [due for time in (*near, ts) for due in self._note(time)]

    def _advance_by_receipt(self, ts: int) -> list[Keyed]:
        """Take a time that is only our receipt's; note it once it can be believed."""
        state, plausible = self.state, self.settings.plausible_ns
        doubted = state.doubted
        if state.latest and ts <= state.latest[-1] + plausible:
            if doubted:
                doubted.clear()
            return self._note(ts)
        while doubted and doubted[-1] > ts + plausible:  # time does not go back: that was wrong
            doubted.pop()
        doubted.append(ts)
        if len(doubted) < _QUOTES_THAT_TELL or ts - doubted[0] < SECOND:
            del doubted[1 : 2 - _QUOTES_THAT_TELL]  # keep the first, which tells since when
            return []
        believed = doubted[:-_SUPPORT]  # the last ones nobody has followed yet
        doubted.clear()
        return [due for time in believed for due in self._note(time)]

    def _note(self, ts: int) -> list[Keyed]:
        """Note one more time that can be believed, and return the Clocks that are due by now."""
        state, settings = self.state, self.settings
        latest = state.latest
        if ts in latest or (len(latest) == _SUPPORT and ts <= latest[0]):
            return []
        latest.append(ts)
        if len(latest) > 1 and ts < latest[-2]:
            latest.sort()
        if len(latest) > _SUPPORT:
            del latest[0]
        if len(latest) < _SUPPORT:
            return []
        seen, interval = latest[0], settings.interval_ns
        if not state.closed:
            return self._emit(seen // interval * interval)
        if seen < state.closed + interval + settings.lateness_ns:
            return []
        until = (seen - settings.lateness_ns) // interval * interval
        due: list[Keyed] = []
        for close in self._closes(state.closed, until):
            due.extend(self._emit(close))
        return due

    def _closes(self, closed: int, until: int) -> Iterator[int]:
        """Yield the bar closes in (closed, until], jumping over the middle of a long leap."""
        interval = self.settings.interval_ns
        if (until - closed) // interval <= self.settings.max_fill_bars:
            yield from range(closed + interval, until + 1, interval)
            return
        # Bars that can hold messages, on both sides of the leap, still get their Clock.
        margin = (self.settings.plausible_ns + self.settings.lateness_ns) // interval + 1
        yield from range(closed + interval, closed + margin * interval + 1, interval)
        yield from range(until - margin * interval, until + 1, interval)

    def _given(self, clock: Clock) -> list[Keyed]:
        self.state.given = True
        return self._emit(clock.ts_event, clock.feeds)

    def _emit(self, ts: int, feeds: tuple[tuple[str, str], ...] = ()) -> list[Keyed]:
        if ts <= self.state.closed:  # time never goes back
            return []
        self.state.closed = ts
        shard = self.settings.shard
        fanned = [
            (symbol, Clock(ts_event=ts, shard=shard, feeds=feeds, symbol=symbol))
            for symbol in self.symbols
        ]
        return [*fanned, *self._tallies()]

    # ------------------------------------------------------------------------- routing

    def _notice(self, notice: Notice) -> list[Keyed]:
        """Stamp a notice with the last Clock, and send it down one symbol's path."""
        body = notice.body
        symbol = self.symbols[0]
        headline = headline_of(body)
        # Where symbols have been mapped already, also news of other shards' symbols passes: that
        # a text has been seen matters to all.
        if headline is not None and headline.symbols and not self.mapped:
            named = {
                ours: name
                for ours in self.symbols
                for name in reversed(headline.symbols)
                if matches(name, ours)
            }
            if not named:
                self._count("headline_no_symbol")
                return []
            symbol = next(iter(named))
            body = renamed(body, named)
        return [(symbol, Notice(after=self.state.closed, offset=notice.offset, body=body))]

    def _of_feed(self, message: Hole | Switch) -> list[Keyed]:
        """Send word of a feed down its symbol's path, behind what came before."""
        symbol = self.aliases.get(message.symbol, message.symbol)
        if symbol not in self.known:
            self._count("hole_no_symbol" if isinstance(message, Hole) else "switch_no_symbol")
            return []
        if symbol != message.symbol:
            message = msgspec.structs.replace(message, symbol=symbol)
        return [(symbol, message)]

    def _foreign(self, message: Tick | Quote | DeliveredBar) -> Iterable[Keyed]:
        """Take a message under our name of its symbol, or reject it if we have none."""
        ours = self.aliases.get(message.symbol)
        if ours is None:
            self.state.received += 1
            return self._unknown(message)
        if isinstance(message, DeliveredBar):
            bar = msgspec.structs.replace(message.bar, symbol=ours)
            return self.on(msgspec.structs.replace(message, symbol=ours, bar=bar))
        return self.on(msgspec.structs.replace(message, symbol=ours))

    def _unknown(self, message: Tick | Quote | DeliveredBar) -> list[Keyed]:
        if self._count("unknown_symbol") > UNKNOWN_KEPT:
            return []
        rejection = Rejection(
            reason=Reason.UNKNOWN_SYMBOL,
            payload=msgspec.json.encode(message),
            ts_init=message.ts_init,
            offset=message.offset,
            symbol=message.symbol[:64],
        )
        return [("", rejection)]

    def _skipped_name(self, kind: str) -> str:
        name = f"ignored:{kind[:32]}"
        counts = self.state.counts
        return name if name in counts or len(counts) < SKIPPED_NAMED else "ignored:other"

    def _count(self, name: str) -> int:
        state = self.state
        count = state.counts[name] = state.counts.get(name, 0) + 1
        state.changed.add(name)
        return count

    def _tallies(self) -> list[Keyed]:
        state = self.state
        if not state.changed:
            return []
        names = sorted(state.changed)
        state.changed.clear()
        return [("", Tally(key="clocks", name=name, count=state.counts[name])) for name in names]
