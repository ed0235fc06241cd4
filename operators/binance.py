"""Decode Binance's market streams: spot, USD-M and COIN-M, which share their forms.

Source: the venue's "WebSocket Streams" documentation. Messages come bare, or wrapped as
`{"stream": ..., "data": ...}`; fields of no use to us are not looked at.
"""

from typing import Any

import msgspec

from operators.checks import (
    MAX_ID,
    MAX_PRICE,
    MAX_SIZE,
    MILLISECOND,
    UNDECODABLE,
    BarEntry,
    MalformedError,
    checked_bar,
    checked_time,
    number,
)
from operators.messages import (
    BarQuality,
    DeliveredBar,
    Quote,
    Raw,
    Reason,
    Rejection,
    Side,
    Skipped,
    Tick,
)

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


class _FetchedTrade(msgspec.Struct, gc=False):
    id: int
    price: str
    qty: str
    time: int
    isBuyerMaker: bool  # noqa: N815 - the venue's name


class _FetchedAggregate(msgspec.Struct, gc=False):
    a: int
    p: str
    q: str
    T: int
    m: bool


class _Fetched(msgspec.Struct, gc=False):
    symbol: str  # rows do not tell theirs
    stream: str
    trades: list[msgspec.Raw]


class _Head(msgspec.Struct, gc=False):
    e: str


def _wrapped(kind: type) -> Any:
    return msgspec.defstruct("Wrapped", [("data", kind)], gc=False)


_TYPES: dict[str, type] = {
    "trade": _Trade,
    "aggTrade": _AggregateTrade,
    "bookTicker": _Book,
    "kline": _Kline,
}
_BARE: dict[str, Any] = {kind: msgspec.json.Decoder(shape).decode for kind, shape in _TYPES.items()}
_COMBINED: dict[str, Any] = {
    kind: msgspec.json.Decoder(_wrapped(shape)).decode for kind, shape in _TYPES.items()
}
_HEAD = msgspec.json.Decoder(_Head).decode
_COMBINED_HEAD: Any = msgspec.json.Decoder(_wrapped(_Head)).decode
_FETCHED = msgspec.json.Decoder(_Fetched).decode
_FETCHED_TRADE = msgspec.json.Decoder(_FetchedTrade).decode
_FETCHED_AGGREGATE = msgspec.json.Decoder(_FetchedAggregate).decode
_ROW_KEPT = 4096  # bytes of a rejected row


def decode(raw: Raw, receive_offset_ns: int) -> Any:
    """Decode one stream message, guessing its type from its bytes so as to decode only once."""
    payload = raw.payload
    wrapped = payload.startswith(b'{"stream":')
    decoders = _COMBINED if wrapped else _BARE
    # The guesses hold for messages as the venue writes them; whatever they do not fit (other
    # spacing, hostile content) fails to decode and is looked at with care instead. So is what
    # is not ASCII: strings that are not looked at here could be broken.
    try:
        if not payload.isascii():
            return _with_care(raw, receive_offset_ns)
        if b'"e":"trade"' in payload:
            found = decoders["trade"](payload)
            return _tick(raw, found.data if wrapped else found)
        if b'"e":"' not in payload or b'"e":"bookTicker"' in payload:
            found = decoders["bookTicker"](payload)
            return _quote(raw, found.data if wrapped else found, receive_offset_ns)
        head = _COMBINED_HEAD(payload).data if wrapped else _HEAD(payload)
        if head.e not in _TYPES:
            return Skipped(kind=head.e, ts_init=raw.ts_init, offset=raw.offset)
    except UNDECODABLE:
        pass
    return _with_care(raw, receive_offset_ns)


def decode_rest(raw: Raw) -> list[Tick | Rejection]:
    """Decode trades that were fetched afterwards, a page of one symbol.

    The entry is `{"symbol": ..., "stream": "trade" | "aggTrade", "trades": [...]}` with the rows
    of historicalTrades or aggTrades as the venue wrote them. A bad row is rejected by itself.

    Raises:
        MalformedError: it is no such page.

    >>> row = b'{"a":7,"p":"61.5","q":"0.02","f":1,"l":1,"T":1723161255342,"m":true,"M":true}'
    >>> page = b'{"symbol":"BTCUSDT","stream":"aggTrade","trades":[%b,{"a":8}]}' % row
    >>> raw = Raw(offset=0, path="a", kind="binance_rest", ts_init=0, payload=page)
    >>> fetched, bad = decode_rest(raw)
    >>> fetched.trade_id, fetched.venue, fetched.backfilled, bad.reason.value
    (7, 'binance/aggregate', True, 'bad_type')
    """
    try:
        raw.payload.decode()  # rows are not looked at as a whole
        page: _Fetched = _FETCHED(raw.payload)
    except msgspec.ValidationError:
        raise MalformedError(Reason.BAD_TYPE) from None
    except UNDECODABLE:
        raise MalformedError(Reason.BAD_JSON) from None
    if page.stream not in {"trade", "aggTrade"} or not page.symbol:
        raise MalformedError(Reason.BAD_TYPE)
    fetched = _fetched_trade if page.stream == "trade" else _fetched_aggregate
    out: list[Tick | Rejection] = []
    for row in page.trades:
        try:
            out.append(fetched(raw, page.symbol, bytes(row)))
        except MalformedError as error:
            reason = error.reason
        except msgspec.ValidationError:
            reason = Reason.BAD_TYPE
        except UNDECODABLE:
            reason = Reason.BAD_JSON
        else:
            continue
        out.append(
            Rejection(
                reason=reason,
                payload=bytes(row)[:_ROW_KEPT],
                ts_init=raw.ts_init,
                offset=raw.offset,
                symbol=page.symbol,
            )
        )
    return out


def _fetched_trade(raw: Raw, symbol: str, row: bytes) -> Tick:
    found: _FetchedTrade = _FETCHED_TRADE(row)
    trade = _Trade(
        s=symbol, t=found.id, p=found.price, q=found.qty, T=found.time, m=found.isBuyerMaker
    )
    return _checked_tick(raw, symbol, "binance", trade.t, trade, backfilled=True)


def _fetched_aggregate(raw: Raw, symbol: str, row: bytes) -> Tick:
    found: _FetchedAggregate = _FETCHED_AGGREGATE(row)
    trade = _AggregateTrade(s=symbol, a=found.a, p=found.p, q=found.q, T=found.T, m=found.m)
    return _checked_tick(raw, symbol, "binance/aggregate", trade.a, trade, backfilled=True)


def _with_care(raw: Raw, receive_offset_ns: int) -> Any:
    """Decode a message of unknown form, and say exactly what is wrong with it."""
    try:
        whole = msgspec.json.decode(raw.payload)
    except UNDECODABLE:
        raise MalformedError(Reason.BAD_JSON) from None
    if not isinstance(whole, dict):
        raise MalformedError(Reason.BAD_TYPE)
    stream = whole.get("stream")
    data = whole.get("data") if "stream" in whole else whole
    kind = _kind_of(data, stream)
    if kind not in _TYPES:
        return Skipped(kind=kind, ts_init=raw.ts_init, offset=raw.offset)
    try:
        decoded: Any = msgspec.convert(data, _TYPES[kind])
    except msgspec.ValidationError:
        raise MalformedError(Reason.BAD_TYPE) from None
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
        raise MalformedError(Reason.BAD_TYPE)
    if "e" in data:
        if isinstance(data["e"], str):
            return data["e"]
        raise MalformedError(Reason.BAD_TYPE)
    if suffix == "bookTicker" or {"u", "s", "b", "a"} <= data.keys():
        return "bookTicker"
    if "lastUpdateId" in data:
        return "depth_snapshot"
    if "result" in data or "error" in data or {"code", "msg"} <= data.keys():
        return "answer"  # to a request of ours
    raise MalformedError(Reason.BAD_TYPE)


def _futures(symbol: str) -> str:
    return "binance-cm" if "USD_" in symbol else "binance-um"


def _tick(raw: Raw, trade: _Trade) -> Tick:
    symbol = trade.s
    venue = "binance" if trade.X is None else _futures(symbol)
    return _checked_tick(raw, symbol, venue, trade.t, trade)


def _aggregate(raw: Raw, trade: _AggregateTrade) -> Tick:
    # Aggregates are another tape with ids of its own, so quality must tell them apart.
    return _checked_tick(raw, trade.s, "binance/aggregate", trade.a, trade)


def _checked_tick(
    raw: Raw,
    symbol: str,
    venue: str,
    trade_id: int,
    trade: _Trade | _AggregateTrade,
    *,
    backfilled: bool = False,
) -> Tick:
    price = number(trade.p)
    size = number(trade.q)
    # Written so that NaN fails too.
    if not (0.0 < price <= MAX_PRICE and 0.0 < size <= MAX_SIZE and 0 <= trade_id <= MAX_ID):
        raise MalformedError(Reason.BAD_VALUE)
    return Tick(
        symbol=symbol,
        venue=venue,
        price=price,
        size=size,
        ts_event=checked_time(trade.T * MILLISECOND),
        ts_init=raw.ts_init,
        offset=raw.offset,
        side=Side.SELL if trade.m else Side.BUY,  # m: the buyer was resting, a seller came
        trade_id=trade_id,
        backfilled=backfilled,
    )


def _quote(raw: Raw, book: _Book, receive_offset_ns: int) -> Quote:
    bid = number(book.b)
    bid_size = number(book.B)
    ask = number(book.a)
    ask_size = number(book.A)
    if not (
        0.0 < bid <= MAX_PRICE
        and 0.0 < ask <= MAX_PRICE
        and 0.0 <= bid_size <= MAX_SIZE
        and 0.0 <= ask_size <= MAX_SIZE
        and 0 <= book.u <= MAX_ID
    ):
        raise MalformedError(Reason.BAD_VALUE)
    symbol = book.s
    if book.T is None:
        venue, ts_event = "binance", checked_time(raw.ts_init + receive_offset_ns)
    else:
        venue = _futures(symbol)
        ts_event = checked_time(book.T * MILLISECOND)
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
    volume = number(candle.v)
    turnover = number(candle.q)
    bar = checked_bar(
        BarEntry(
            symbol=kline.s,
            interval=int(count) * _INTERVALS[unit] * 1_000_000_000,
            ts_close=checked_time((candle.T + 1) * MILLISECOND),
            open=number(candle.o),
            high=number(candle.h),
            low=number(candle.l),
            close=number(candle.c),
            volume=volume,
            vwap=turnover / volume if volume > 0.0 else None,
        ),
        trades=candle.n,
        quality=BarQuality.OBSERVED if candle.n else BarQuality.QUIET,
    )
    return DeliveredBar(symbol=bar.symbol, bar=bar, ts_init=raw.ts_init, offset=raw.offset)
