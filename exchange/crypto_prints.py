"""Prices of crypto pairs, as Yahoo would stream what the venue's instruments trade.

Yahoo's BTC-USD is the market's BTCUSDT (a dollar-like coin counts as the dollar), at the same
prices and moments, so that a reader of both venues can compare them; copies of instruments
have their copies here. Yahoo sends about one frame a second and pair, not each trade: of each
stretch of the schedule the last trade is served, at its own moment. Day volume is in US dollars
and rises with what was traded since the schedule's start, where the day begins for want of an
earlier record (so the day's open and the previous close are the first price).
"""

from collections.abc import Iterable
from itertools import accumulate

from exchange.clock import VenueClock
from exchange.instruments import Instrument
from exchange.market import base_and_quote
from exchange.prints import CRYPTO, REGULAR, SECOND, Print

__all__ = ["CryptoPrints", "yahoo_name"]

_DOLLARS = frozenset(["USDT", "FDUSD", "USDC", "TUSD", "BUSD"])
_UNIT = 100_000_000  # the recording counts prices and quantities in 1e-8


def yahoo_name(symbol: str) -> str | None:
    """Name an instrument as Yahoo does, or None where it is not quoted in dollars.

    >>> yahoo_name("BTCUSDT"), yahoo_name("ETHBTC")
    ('BTC-USD', None)
    """
    base, quote = base_and_quote(symbol)
    return f"{base}-USD" if quote in _DOLLARS else None


class CryptoPrints:
    """The market's dollar pairs by Yahoo's names."""

    def __init__(
        self, instruments: Iterable[Instrument], clock: VenueClock, *, frame_seconds: float = 1.0
    ) -> None:
        """Serve `instruments`, one print in `frame_seconds` of the schedule at most."""
        self._clock = clock
        self._step = max(1, int(frame_seconds * SECOND))
        self._pairs: dict[str, _Pair] = {}
        for instrument in instruments:
            name = yahoo_name(instrument.symbol)
            if name is not None:
                self._pairs.setdefault(name, _Pair(name, instrument, clock, self._step))

    @property
    def symbols(self) -> tuple[str, ...]:
        """All names that have prices."""
        return tuple(self._pairs)

    def prints(self, symbol: str, after: int, until: int) -> list[Print]:
        """Return the prints of `symbol` in (after, until], in order; venue times in ns."""
        pair = self._pairs.get(symbol)
        if pair is None or until <= after:
            return []
        return pair.prints(self._clock.position_at(after), self._clock.position_at(until))


class _Pair:
    def __init__(self, name: str, instrument: Instrument, clock: VenueClock, step: int) -> None:
        self._name = name
        self._instrument = instrument
        self._clock = clock
        self._step = step
        prices = instrument.track.prices
        self._highs = list(accumulate(prices, max))
        self._lows = list(accumulate(prices, min))
        self._counted = (-1, 0)  # a position, and the trades until then

    def prints(self, after: int, until: int) -> list[Print]:
        first = self._until(after)
        last = self._until(until)
        self._counted = (until, last)
        return [self._print(trade) for trade in range(first, last) if self._ends_step(trade)]

    def _until(self, position: int) -> int:
        # A reader that follows asks from where its last question ended.
        if self._counted[0] == position:
            return self._counted[1]
        return self._instrument.trades_until(position)

    def _ends_step(self, trade: int) -> bool:
        instrument = self._instrument
        if trade + 1 == len(instrument.track.trades) and not instrument.looped:
            return True
        place = instrument.trade_place
        return place(trade) // self._step != place(trade + 1) // self._step

    def _print(self, trade: int) -> Print:
        track = self._instrument.track
        lap, index = divmod(trade, len(track.trades))
        notional = track.sums[1]
        seen = index if not lap else -1  # after a whole lap, its extremes stand
        return Print(
            symbol=self._name,
            ts=self._clock.at(self._instrument.trade_place(trade)),
            price=track.prices[index] / _UNIT,
            day_volume=(notional[index + 1] + lap * notional[-1]) // _UNIT**2,
            day_open=track.prices[0] / _UNIT,
            day_high=self._highs[seen] / _UNIT,
            day_low=self._lows[seen] / _UNIT,
            previous_close=track.prices[0] / _UNIT,
            market_hours=REGULAR,
            quote_type=CRYPTO,
            exchange="CCC",
            extreme=True,
        )
