"""Decode the log: venue payloads become ticks, quotes, bars and notices, whole batches at once.

Each entry becomes exactly one message: what it says, a `Rejection` with its reason, or
`Skipped` with its type. Sources: Binance's WebSocket market streams for spot, USD-M and
COIN-M, which share these forms; fields of no use to us are not looked at.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from operators.messages import (
    Bar,
    BarQuality,
    Clock,
    Control,
    DeliveredBar,
    Headline,
    Mood,
    Notice,
    Quote,
    Raw,
    Reason,
    Rejection,
    Side,
    Skipped,
    Tick,
)

MILLISECOND = 1_000_000
EARLIEST = 946_684_800_000_000_000  # 2000-01-01: a time before is rubbish
LATEST = 7_258_118_400_000_000_000  # 2200-01-01: so is one from here on
PAYLOAD_KEPT = 4096  # bytes of a rejected payload
MAX_ID = 2**63 - 1
# Beyond these no market trades, and sums over a bar could overflow.
MAX_PRICE = 1e12
MAX_SIZE = 1e15

_INTERVALS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class _Trade(msgspec.Struct, gc=False):
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool
    X: str | None = None  # USD-M and COIN-M only


class _AggregateTrade(msgspec.Struct, gc=False):
    s: str
    a: int
    p: str
    q: str
    T: int
    m: bool


class _Book(msgspec.Struct, gc=False):
    s: str
    u: int
    b: str
    B: str
    a: str
    A: str
    T: int | None = None  # spot's has no time


class _Candle(msgspec.Struct, gc=False):
    T: int
    i: str
    o: str
    c: str
    h: str
    l: str  # noqa: E741 - the venue's name
    v: str
    q: str
    n: int
    x: bool


class _Kline(msgspec.Struct, gc=False):
    s: str
    k: _Candle


class _Head(msgspec.Struct, gc=False):
    e: str


class _FileBar(msgspec.Struct, gc=False):
    symbol: str
    interval: int
    ts_close: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None = None
    spread: float | None = None
    imbalance: float | None = None


class _News(msgspec.Struct, gc=False):
    text: str
    id: str | None = None
    source: str = ""
    lang: str = "en"
    symbols: tuple[str, ...] = ()
    published_at: int | None = None
    available_at: int | None = None
    author_hash: str | None = None


class _Malformed(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, reason: Reason) -> None:
        self.reason = reason


_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _wrapped(kind: type) -> type:
    return msgspec.defstruct("Wrapped", [("data", kind)], gc=False)


_TYPES: dict[str, type] = {
    "trade": _Trade,
    "aggTrade": _AggregateTrade,
    "bookTicker": _Book,
    "kline": _Kline,
}
_BARE = {kind: msgspec.json.Decoder(type_).decode for kind, type_ in _TYPES.items()}
_COMBINED = {kind: msgspec.json.Decoder(_wrapped(type_)).decode for kind, type_ in _TYPES.items()}
_HEAD = msgspec.json.Decoder(_Head).decode
_COMBINED_HEAD = msgspec.json.Decoder(_wrapped(_Head)).decode


def normalise(raws: Iterable[Raw], receive_offset_ns: int = 0) -> list[Any]:
    """Decode a batch of log entries into one message each, in order.

    `receive_offset_ns` is how far the recorder's clock ran behind the venue's; a message
    without venue time is stamped with its receive time plus this. Headlines, moods and
    controls come as a `Notice` that does not know its Clock yet (`after` is 0).

    >>> line = b'{"e":"trade","s":"BTCUSDT","t":7,"p":"61837.5","q":"0.02","T":1723161255342,"m":true}'
    >>> raw = Raw(offset=0, path="a", kind="binance", ts_init=1723161255400000000, payload=line)
    >>> [tick] = normalise([raw])
    >>> tick.symbol, tick.price, tick.size, tick.trade_id, tick.side.value
    ('BTCUSDT', 61837.5, 0.02, 7, 'sell')
    >>> cut = msgspec.structs.replace(raw, payload=line[:-9])
    >>> normalise([cut])[0].reason
    <Reason.BAD_JSON: 'bad_json'>
    """
    out: list[Any] = []
    append = out.append
    for raw in raws:
        try:
            if raw.kind == "binance":
                append(_binance(raw, receive_offset_ns))
            else:
                append(_OTHERS.get(raw.kind, _unknown)(raw))
        except _Malformed as error:
            append(_rejected(raw, error.reason))
    return out


def _rejected(raw: Raw, reason: Reason) -> Rejection:
    payload = raw.payload[:PAYLOAD_KEPT]
    return Rejection(reason=reason, payload=payload, ts_init=raw.ts_init, offset=raw.offset)


# ---------------------------------------------------------------------------- Binance


def _binance(raw: Raw, receive_offset_ns: int) -> Any:
    """Decode one stream message, guessing its type from its bytes so as to decode only once."""
    payload = raw.payload
    wrapped = payload.startswith(b'{"stream":')
    decoders = _COMBINED if wrapped else _BARE
    # The guesses hold for messages as the venue writes them; whatever they do not fit (other
    # spacing, hostile content) fails to decode and is looked at with care instead.
    try:
        if b'"e":"trade"' in payload:
            found = decoders["trade"](payload)
            return _tick(raw, found.data if wrapped else found)
        if b'"e":"' not in payload or b'"e":"bookTicker"' in payload:
            found = decoders["bookTicker"](payload)
            return _quote(raw, found.data if wrapped else found, receive_offset_ns)
        head = _COMBINED_HEAD(payload).data if wrapped else _HEAD(payload)
        if head.e not in _TYPES:
            return Skipped(kind=head.e, ts_init=raw.ts_init, offset=raw.offset)
    except _UNDECODABLE:
        pass
    return _with_care(raw, receive_offset_ns)


def _with_care(raw: Raw, receive_offset_ns: int) -> Any:
    """Decode a message of unknown form, and say exactly what is wrong with it."""
    try:
        whole = msgspec.json.decode(raw.payload)
    except _UNDECODABLE:
        raise _Malformed(Reason.BAD_JSON) from None
    if not isinstance(whole, dict):
        raise _Malformed(Reason.BAD_TYPE)
    stream = whole.get("stream")
    data = whole.get("data") if isinstance(stream, str) else whole
    kind = _kind_of(data, stream)
    if kind not in _TYPES:
        return Skipped(kind=kind, ts_init=raw.ts_init, offset=raw.offset)
    try:
        decoded: Any = msgspec.convert(data, _TYPES[kind])
    except msgspec.ValidationError:
        raise _Malformed(Reason.BAD_TYPE) from None
    if kind == "bookTicker":
        return _quote(raw, decoded, receive_offset_ns)
    if kind == "kline":
        return _candle(raw, decoded)
    return _tick(raw, decoded) if kind == "trade" else _aggregate(raw, decoded)


def _kind_of(data: Any, stream: Any) -> str:
    """Return the type of a message: its own word, else its stream's, else what it looks like."""
    suffix = stream.rpartition("@")[2] if isinstance(stream, str) and "@" in stream else ""
    if not isinstance(data, dict):
        if suffix == "arr":  # "all markets" streams are arrays
            return stream.partition("@")[0]
        raise _Malformed(Reason.BAD_TYPE)
    if "e" in data:
        if isinstance(data["e"], str):
            return data["e"]
        raise _Malformed(Reason.BAD_TYPE)
    if suffix == "bookTicker" or {"u", "s", "b", "a"} <= data.keys():
        return "bookTicker"
    if "lastUpdateId" in data:
        return "depth_snapshot"
    if "result" in data or "error" in data or {"code", "msg"} <= data.keys():
        return "answer"  # to a request of ours
    raise _Malformed(Reason.BAD_TYPE)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _Malformed(Reason.BAD_TYPE) from None
    if "_" in text:  # Python reads 1_000, no venue writes it
        raise _Malformed(Reason.BAD_TYPE)
    return value


def _time(ts: int) -> int:
    if EARLIEST <= ts < LATEST:
        return ts
    raise _Malformed(Reason.BAD_VALUE)


def _tick(raw: Raw, trade: _Trade) -> Tick:
    symbol = trade.s
    if trade.X is None:
        venue = "binance"
    else:
        venue = "binance-cm" if "USD_" in symbol else "binance-um"
    return _checked_tick(raw, symbol, venue, trade.t, trade)


def _aggregate(raw: Raw, trade: _AggregateTrade) -> Tick:
    # Aggregates are another tape with ids of its own, so quality must tell them apart.
    return _checked_tick(raw, trade.s, "binance/aggregate", trade.a, trade)


def _checked_tick(
    raw: Raw, symbol: str, venue: str, trade_id: int, trade: _Trade | _AggregateTrade
) -> Tick:
    price = _number(trade.p)
    size = _number(trade.q)
    # Written so that NaN fails too.
    if not (0.0 < price <= MAX_PRICE and 0.0 < size <= MAX_SIZE and 0 <= trade_id <= MAX_ID):
        raise _Malformed(Reason.BAD_VALUE)
    return Tick(
        symbol=symbol,
        venue=venue,
        price=price,
        size=size,
        ts_event=_time(trade.T * MILLISECOND),
        ts_init=raw.ts_init,
        offset=raw.offset,
        side=Side.SELL if trade.m else Side.BUY,  # m: the buyer was resting, a seller came
        trade_id=trade_id,
    )


def _quote(raw: Raw, book: _Book, receive_offset_ns: int) -> Quote:
    bid = _number(book.b)
    bid_size = _number(book.B)
    ask = _number(book.a)
    ask_size = _number(book.A)
    if not (
        0.0 < bid <= MAX_PRICE
        and 0.0 < ask <= MAX_PRICE
        and 0.0 <= bid_size <= MAX_SIZE
        and 0.0 <= ask_size <= MAX_SIZE
        and 0 <= book.u <= MAX_ID
    ):
        raise _Malformed(Reason.BAD_VALUE)
    symbol = book.s
    if book.T is None:
        venue, ts_event = "binance", _time(raw.ts_init + receive_offset_ns)
    else:
        venue = "binance-cm" if "USD_" in symbol else "binance-um"
        ts_event = _time(book.T * MILLISECOND)
    return Quote(
        symbol=symbol,
        venue=venue,
        bid=bid,
        bid_size=bid_size,
        ask=ask,
        ask_size=ask_size,
        ts_event=ts_event,
        ts_init=raw.ts_init,
        offset=raw.offset,
        update_id=book.u,
    )


def _candle(raw: Raw, kline: _Kline) -> DeliveredBar | Skipped:
    candle = kline.k
    if not candle.x:
        return Skipped(kind="kline_open", ts_init=raw.ts_init, offset=raw.offset)
    count, unit = candle.i[:-1], candle.i[-1:]
    if unit not in _INTERVALS or not (count.isascii() and count.isdigit() and len(count) < 4):
        return Skipped(kind="kline", ts_init=raw.ts_init, offset=raw.offset)  # months vary
    volume = _number(candle.v)
    turnover = _number(candle.q)
    bar = _checked_bar(
        _FileBar(
            symbol=kline.s,
            interval=int(count) * _INTERVALS[unit] * 1_000_000_000,
            ts_close=_time((candle.T + 1) * MILLISECOND),
            open=_number(candle.o),
            high=_number(candle.h),
            low=_number(candle.l),
            close=_number(candle.c),
            volume=volume,
            vwap=turnover / volume if volume > 0.0 else None,
        ),
        trades=candle.n,
        quality=BarQuality.OBSERVED if candle.n else BarQuality.QUIET,
    )
    return DeliveredBar(symbol=bar.symbol, bar=bar, ts_init=raw.ts_init, offset=raw.offset)


# ----------------------------------------------------------------- entries of our own making


def _checked_bar(
    found: _FileBar, trades: int = 0, quality: BarQuality = BarQuality.OBSERVED
) -> Bar:
    low, high = found.low, found.high
    if not (
        0.0 < low <= min(found.open, found.close)
        and max(found.open, found.close) <= high <= MAX_PRICE
        and 0.0 <= found.volume <= MAX_SIZE
        and trades >= 0
        and found.interval > 0
        and EARLIEST <= found.ts_close < LATEST
        and found.ts_close % found.interval == 0
        and (found.spread is None or 0.0 <= found.spread <= MAX_PRICE)
        and (found.imbalance is None or -1.0 <= found.imbalance <= 1.0)
    ):
        raise _Malformed(Reason.BAD_VALUE)
    vwap = found.vwap
    # COIN-M counts volume in contracts, so that turnover over volume is no price there.
    if vwap is None or not low <= vwap <= high:
        vwap = (high + low + found.close) / 3.0
    return Bar(
        symbol=found.symbol,
        interval=found.interval,
        ts_close=found.ts_close,
        open=found.open,
        high=high,
        low=low,
        close=found.close,
        volume=found.volume,
        trades=trades,
        vwap=vwap,
        spread=found.spread,
        imbalance=found.imbalance,
        quality=quality,
    )


def _decoded(raw: Raw, decode: Callable[[bytes], Any]) -> Any:
    try:
        return decode(raw.payload)
    except msgspec.ValidationError:
        raise _Malformed(Reason.BAD_TYPE) from None
    except _UNDECODABLE:
        raise _Malformed(Reason.BAD_JSON) from None


_FILE_BAR = msgspec.json.Decoder(_FileBar).decode
_NEWS = msgspec.json.Decoder(_News).decode
_MOOD = msgspec.json.Decoder(Mood).decode
_CONTROL = msgspec.json.Decoder(Control).decode
_CLOCK = msgspec.json.Decoder(Clock).decode


def _file_bar(raw: Raw) -> DeliveredBar:
    bar = _checked_bar(_decoded(raw, _FILE_BAR))
    return DeliveredBar(symbol=bar.symbol, bar=bar, ts_init=raw.ts_init, offset=raw.offset)


def _headline(raw: Raw) -> Notice:
    news: _News = _decoded(raw, _NEWS)
    if not news.text.strip():
        raise _Malformed(Reason.BAD_VALUE)
    available_at = raw.ts_init if news.available_at is None else news.available_at
    digest = blake2b(f"{news.source}\0{news.text}".encode(), digest_size=8).hexdigest()
    body = Headline(
        id=digest if news.id is None else news.id,
        source=news.source,
        lang=news.lang,
        symbols=news.symbols,
        text=news.text,
        published_at=available_at if news.published_at is None else news.published_at,
        available_at=available_at,
        author_hash=news.author_hash,
    )
    return Notice(after=0, offset=raw.offset, body=body)


def _mood(raw: Raw) -> Notice:
    mood: Mood = _decoded(raw, _MOOD)
    if not 0.0 <= mood.value <= 100.0:
        raise _Malformed(Reason.BAD_VALUE)
    return Notice(after=0, offset=raw.offset, body=mood)


def _control(raw: Raw) -> Notice:
    control: Control = _decoded(raw, _CONTROL)
    if control.kind not in {"stop", "resume"}:
        raise _Malformed(Reason.BAD_VALUE)
    return Notice(after=0, offset=raw.offset, body=control)


def _clock(raw: Raw) -> Clock:
    clock: Clock = _decoded(raw, _CLOCK)
    if not EARLIEST <= clock.ts_event < LATEST:
        raise _Malformed(Reason.BAD_VALUE)
    return clock


def _bad(raw: Raw) -> Rejection:
    return _rejected(raw, raw.reason or Reason.UNREADABLE)


def _unknown(raw: Raw) -> Skipped:
    return Skipped(kind=raw.kind, ts_init=raw.ts_init, offset=raw.offset)


_OTHERS: dict[str, Callable[[Raw], Any]] = {
    "bar": _file_bar,
    "headline": _headline,
    "mood": _mood,
    "control": _control,
    "clock": _clock,
    "bad": _bad,
}
