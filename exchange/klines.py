"""Klines (candles), made from the trades that have happened so far."""

from functools import lru_cache
from typing import NamedTuple

from exchange.instruments import Instrument

__all__ = ["INTERVALS", "Candle", "candle", "candles", "decimal", "kline_payload", "kline_row"]

# Milliseconds. Longer intervals do not start at multiples of their length, nor does a recording
# last long enough to need them.
INTERVALS = {
    "1s": 1_000,
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
}


class Candle(NamedTuple):
    """What traded in [open_ms, close_ms]; prices and sums in 1e-8."""

    open_ms: int
    close_ms: int
    first_id: int  # -1 where nothing traded, as is last_id
    last_id: int
    trades: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int
    taker_volume: int
    taker_quote_volume: int


def decimal(units: int) -> str:
    """Write a number of 1e-8 as the venue does.

    >>> decimal(6183763000000)
    '61837.63000000'
    """
    return f"{units // 100_000_000}.{units % 100_000_000:08d}"


def candle(instrument: Instrument, open_ms: int, interval_ms: int, visible: int) -> Candle | None:
    """Make the candle of the first `visible` trades that opens at `open_ms`.

    None where nothing had ever traded by its end. Without a trade of its own it stands at the
    last price.
    """
    first = instrument.trades_before_ms(open_ms, visible)
    after = instrument.trades_before_ms(open_ms + interval_ms, visible)
    close_ms = open_ms + interval_ms - 1
    track = instrument.track
    each = len(track.trades)
    if first == after:
        if not first:
            return None
        price = track.prices[(first - 1) % each]
        return Candle(open_ms, close_ms, -1, -1, 0, price, price, price, price, 0, 0, 0, 0)
    prices: list[int] = []
    for loop in range(first // each, (after - 1) // each + 1):
        prices += track.prices[max(0, first - loop * each) : after - loop * each]
    volume, quote, taker, taker_quote = (
        _sum_until(sums, after) - _sum_until(sums, first) for sums in track.sums
    )
    return Candle(
        open_ms,
        close_ms,
        instrument.trade_id(first),
        instrument.trade_id(after - 1),
        after - first,
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        volume,
        quote // 100_000_000,
        taker,
        taker_quote // 100_000_000,
    )


def _sum_until(sums: list[int], trade: int) -> int:
    loop, index = divmod(trade, len(sums) - 1)
    return loop * sums[-1] + sums[index]


def candles(
    instrument: Instrument,
    interval_ms: int,
    visible: int,
    now_ms: int,
    *,
    start_ms: int | None,
    end_ms: int | None,
    limit: int,
) -> list[Candle]:
    """Make up to `limit` candles that open in [start_ms, end_ms]: the latest without a start."""
    if not visible:
        return []
    first = instrument.trade_ms(0) // interval_ms
    last = now_ms // interval_ms
    if end_ms is not None:
        last = min(last, end_ms // interval_ms)
    if start_ms is not None:
        first = max(first, -(-start_ms // interval_ms))
        last = min(last, first + limit - 1)
    else:
        first = max(first, last - limit + 1)
    made = (
        candle(instrument, number * interval_ms, interval_ms, visible)
        for number in range(first, last + 1)
    )
    return [one for one in made if one is not None]


def kline_row(one: Candle) -> list[int | str]:
    """Write a candle as a row of /api/v3/klines."""
    return [
        one.open_ms,
        decimal(one.open),
        decimal(one.high),
        decimal(one.low),
        decimal(one.close),
        decimal(one.volume),
        one.close_ms,
        decimal(one.quote_volume),
        one.trades,
        decimal(one.taker_volume),
        decimal(one.taker_quote_volume),
        "0",
    ]


@lru_cache(maxsize=4096)
def _kline_head(symbol: str, interval: str) -> tuple[str, str]:
    return f',"s":"{symbol}","k":{{"t":', f',"s":"{symbol}","i":"{interval}","f":'


def kline_payload(symbol: str, interval: str, one: Candle, event_ms: int, *, closed: bool) -> bytes:
    """Write a candle as a bare message of a kline stream."""
    head, identity = _kline_head(symbol, interval)
    return (
        f'{{"e":"kline","E":{event_ms}{head}{one.open_ms},"T":{one.close_ms}{identity}'
        f'{one.first_id},"L":{one.last_id},"o":"{decimal(one.open)}","c":"{decimal(one.close)}",'
        f'"h":"{decimal(one.high)}","l":"{decimal(one.low)}","v":"{decimal(one.volume)}",'
        f'"n":{one.trades},"x":{"true" if closed else "false"},'
        f'"q":"{decimal(one.quote_volume)}","V":"{decimal(one.taker_volume)}",'
        f'"Q":"{decimal(one.taker_quote_volume)}","B":"0"}}}}'
    ).encode()
