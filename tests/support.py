"""Builders of messages with defaults, and real bars, for tests."""

from functools import cache
from pathlib import Path

import numpy as np

from models.bar_files import read_bars
from models.calendars import sessions
from models.schema import FEATURES, WINDOW
from operators.messages import (
    SECOND,
    Bar,
    Clock,
    CrossSection,
    Headline,
    Leg,
    Notice,
    Quote,
    Raw,
    Tick,
)

DATA = Path(__file__).parents[1] / "data"
RECORDING = (
    DATA / "recordings/binance_spot_btcusdt_ethusdt_trade_bookTicker_20240808T2354_10min.ndjson.gz"
)
EQKER = DATA / "bars/eqker_us_1m_2019-02-11_15"
MINUTE = 60 * SECOND


def tick(symbol="BTCUSDT", price=100.0, ts_event=1, **fields):
    """Return a trade; `ts_event` in ns."""
    return Tick(
        **{
            "symbol": symbol,
            "venue": "binance",
            "price": price,
            "size": 1.0,
            "ts_event": ts_event,
            "ts_init": ts_event,
            "offset": 0,
        }
        | fields
    )


def quote(symbol="BTCUSDT", bid=99.5, ask=100.5, ts_event=1, **fields):
    """Return a best bid and ask; `ts_event` in ns."""
    return Quote(
        **{
            "symbol": symbol,
            "venue": "binance",
            "bid": bid,
            "bid_size": 1.0,
            "ask": ask,
            "ask_size": 1.0,
            "ts_event": ts_event,
            "ts_init": ts_event,
            "offset": 0,
        }
        | fields
    )


def bar(symbol="BTCUSDT", close=100.0, ts_close=1, **fields):
    """Return a bar that moved nowhere; `ts_close` in seconds."""
    return Bar(
        **{
            "symbol": symbol,
            "interval": SECOND,
            "ts_close": ts_close * SECOND,
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": 1.0,
            "vwap": close,
        }
        | fields
    )


def clock(ts_event=1, **fields):
    """Return a Clock; `ts_event` in ns."""
    return Clock(ts_event=ts_event, **fields)


def raw(payload=b"{}", offset=0, ts_init=1, kind="binance", **fields):
    """Return an entry of the log."""
    return Raw(
        **{"offset": offset, "path": "test", "kind": kind, "ts_init": ts_init, "payload": payload}
        | fields
    )


def headline(text="Bitcoin rises", symbols=("BTCUSDT",), **fields):
    """Return a headline."""
    return Headline(
        **{
            "id": "h1",
            "source": "test",
            "lang": "en",
            "symbols": symbols,
            "text": text,
            "published_at": 0,
            "available_at": 0,
        }
        | fields
    )


def notice(body, after=0, offset=0):
    """Return what stands in the log after Clock `after` (ns)."""
    return Notice(after=after, offset=offset, body=body)


def cross_section(symbols=("BTCUSDT", "ETHUSDT"), ts_close=1, closes=None, **fields):
    """Return a ready cross-section with zero features; `ts_close` in seconds."""
    closes = [100.0] * len(symbols) if closes is None else closes
    interval = fields.pop("interval", SECOND)
    return CrossSection(
        **{
            "shard": 0,
            "ts_close": ts_close * SECOND,
            "interval": interval,
            "symbols": tuple(symbols),
            "bars": tuple(
                bar(symbol, close, ts_close, interval=interval)
                for symbol, close in zip(symbols, closes, strict=True)
            ),
            "features": np.zeros((len(symbols), WINDOW, len(FEATURES)), np.float32),
            "volatility": np.full(len(symbols), 1e-4),
            "ready": np.ones(len(symbols), np.bool_),
        }
        | fields
    )


def leg(name="forecast", ts_close=1, value=(0.5, 0.5), **fields):
    """Return a leg that is sure of itself; `ts_close` in seconds."""
    value = np.array(value, float)
    return Leg(
        **{
            "name": name,
            "ts_close": ts_close * SECOND,
            "value": value,
            "certainty": np.ones(len(value)),
            "skill": 0.5,
            "abstains": np.zeros(len(value), np.bool_),
            "detail": {},
            "model": f"{name}@test",
        }
        | fields
    )


@cache
def _eqker():
    return read_bars(EQKER, tz="America/New_York", interval=MINUTE)


@cache
def eqker_bars(symbol):
    """Return one symbol's real one-minute bars, as the bars stage delivers them."""
    frame = _eqker()
    calendar = sessions("XNYS")
    found = []
    for row in frame.filter(frame["symbol"] == symbol).iter_rows(named=True):
        session = calendar.session_of(row["ts_close"], MINUTE)
        if session is None:
            continue
        found.append(
            Bar(
                symbol=symbol,
                interval=MINUTE,
                ts_close=row["ts_close"],
                open=row["open"],
                high=row["high"],
                low=row["low"],
                close=row["close"],
                volume=row["volume"],
                vwap=row["close"],
                session_index=session.session_index,
                session_left=session.session_left,
                session_fraction=session.session_fraction,
            )
        )
    return tuple(found)
