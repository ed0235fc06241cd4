"""Binance's kline streams: when which candle is pushed."""

from typing import TYPE_CHECKING, Protocol

from exchange.instruments import Instrument
from exchange.klines import INTERVALS, candle, kline_payload

if TYPE_CHECKING:
    from exchange.app import Venue

__all__ = ["KlineStreams"]


class _Deliver(Protocol):
    def __call__(self, stream: str, bare: bytes, place: int) -> None: ...


def _cadence_ms(interval: str) -> int:
    return 1_000 if interval == "1s" else 2_000


class KlineStreams:
    """Push candles each second (1s) or each two; a candle's end is told once more, closed."""

    def __init__(self, venue: "Venue", deliver: _Deliver) -> None:
        """Push by `deliver`."""
        self._venue = venue
        self._deliver = deliver
        self._instruments = {
            symbol.lower(): instrument for symbol, instrument in venue.market.instruments.items()
        }
        # By stream: the instrument, the interval, and when it is pushed next (venue's ms).
        self._watched: dict[str, tuple[Instrument, str, int]] = {}

    def watch(self, stream: str) -> bool:
        """Push `stream` from now on; False where it is no kline stream of the venue."""
        name, _, interval = stream.partition("@kline_")
        instrument = self._instruments.get(name)
        if instrument is None or interval not in INTERVALS:
            return False
        if stream not in self._watched:
            cadence = _cadence_ms(interval)
            due = (self._venue.clock.now_ms() // cadence + 1) * cadence
            self._watched[stream] = (instrument, interval, due)
        return True

    def forget(self, stream: str) -> None:
        """Push `stream` no more."""
        self._watched.pop(stream, None)

    def push(self, position: int) -> None:
        """Push all that is due at `position` of the schedule."""
        if not self._watched:
            return
        now_ms = self._venue.clock.at(position) // 1_000_000
        for stream, (instrument, interval, due) in self._watched.items():
            if due <= now_ms:
                after = self._push_stream(stream, instrument, interval, due, now_ms, position)
                self._watched[stream] = (instrument, interval, after)

    def _push_stream(
        self,
        stream: str,
        instrument: Instrument,
        interval: str,
        due: int,
        now_ms: int,
        position: int,
    ) -> int:
        """Push one stream's candles that were due in [due, now_ms]; tell when the next is."""
        length, cadence = INTERVALS[interval], _cadence_ms(interval)
        visible = instrument.trades_until(position)
        while due <= now_ms:
            closed = due % length == 0
            # Of open candles only the latest is worth telling; of closed ones none is left out.
            if closed or due + cadence > now_ms:
                opened = due - length if closed else due - due % length
                one = candle(instrument, opened, length, visible)
                if one is not None:
                    bare = kline_payload(instrument.symbol, interval, one, due, closed=closed)
                    self._deliver(stream, bare, position)
            due += cadence
        return due
