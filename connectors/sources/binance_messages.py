"""What the feed must know of Binance's messages: which trade or quote one is, and no more.

The dataflow decodes the messages themselves; here only ids and what proves a trade usable are
looked at, for a trade that normalise would reject must not count as received.
"""

from typing import NamedTuple

import msgspec

from operators.checks import EARLIEST, LATEST, MAX_ID, MAX_PRICE, MAX_SIZE, MILLISECOND, UNDECODABLE

SHUTDOWN = "serverShutdown"


class Candle(msgspec.Struct, gc=False):
    """What tells one candle from another."""

    t: int
    i: str
    x: bool


class Data(msgspec.Struct, gc=False):
    """The fields by which a message of any stream is known."""

    e: str | None = None
    E: int | None = None
    s: str | None = None
    t: int | None = None  # a trade's id
    a: int | str | None = None  # an aggregate's id, or a quote's ask
    u: int | None = None
    p: str | None = None
    q: str | None = None
    T: int | None = None
    m: bool | None = None
    b: int | str | None = None  # a quote's bid, or a buyer's order
    k: Candle | None = None


class _Wrapped(msgspec.Struct, gc=False):
    data: Data
    stream: str = ""


class _Bare(Data, gc=False):
    """What comes without a stream's name: answers, errors, and the end of the connection."""

    id: int | str | None = None
    code: int | None = None
    msg: str | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Answer(NamedTuple):
    """The venue's answer to a request of ours; `code` where it refuses."""

    code: int | None


_wrapped = msgspec.json.Decoder(_Wrapped).decode
_bare = msgspec.json.Decoder(_Bare).decode
_UNUSABLE = (*UNDECODABLE, ValueError)


def peek(payload: bytes) -> Data | Answer | None:
    """Return what a message of the socket is about; None where it has no known shape.

    >>> peek(b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":7}}').t
    7
    >>> peek(b'{"result":null,"id":1}')
    Answer(code=None)
    >>> peek(b"{") is None
    True
    """
    try:
        if not payload.isascii():
            payload.decode()  # strings that are not looked at could be broken
        if payload.startswith(b'{"stream":'):
            return _wrapped(payload).data
        return _unusual(payload)
    except _UNUSABLE:
        return None


def _unusual(payload: bytes) -> Data | Answer | None:
    try:
        return _wrapped(payload).data  # of other spacing or order
    except msgspec.ValidationError:
        found = _bare(payload)
    if found.e is not None or found.u is not None:
        return found
    if found.code is not None and found.msg is not None:
        return Answer(found.code)
    if found.error is not msgspec.UNSET:
        return Answer(found.code if found.code is not None else 0)
    return Answer(None) if found.result is not msgspec.UNSET else None


def usable(price: str | None, size: str | None, time_ms: int | None) -> bool:
    """Say whether normalise will take a trade of these.

    >>> usable("61.5", "0.02", 1723161255342), usable("61.5", "-1", 1723161255342)
    (True, False)
    """
    if price is None or size is None or time_ms is None:
        return False
    try:
        # Written so that NaN fails too.
        return (
            0.0 < float(price) <= MAX_PRICE
            and 0.0 < float(size) <= MAX_SIZE
            and EARLIEST <= time_ms * MILLISECOND < LATEST
            and "_" not in price
            and "_" not in size
        )
    except ValueError:
        return False


class _TradeRow(msgspec.Struct, gc=False):
    id: int
    price: str
    qty: str
    time: int
    isBuyerMaker: bool  # noqa: N815 - the venue's name


class _AggregateRow(msgspec.Struct, gc=False):
    a: int
    p: str
    q: str
    T: int
    m: bool


class Row(NamedTuple):
    """A trade of a REST page, by its id and as its bytes."""

    id: int
    raw: bytes


class Page(NamedTuple):
    """The usable trades of a REST answer."""

    rows: list[Row]
    whole: bool  # all of its rows are usable


class PageError(Exception):
    """A REST body that is no page of trades."""


_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_trade_row = msgspec.json.Decoder(_TradeRow).decode
_aggregate_row = msgspec.json.Decoder(_AggregateRow).decode


def read_page(body: bytes, trades: str) -> Page:
    """Return the usable trades of a REST page of the tape `trades`, as they stand in it.

    Raises:
        PageError: it is no JSON, or no list.
    """
    try:
        # With strictness for what is not looked at: a broken string would spoil the envelope.
        body.decode()
        raws = _rows(body)
    except _UNUSABLE:
        raise PageError("expected a JSON list of trades") from None
    rows: list[Row] = []
    for raw in raws:
        text = bytes(raw)
        try:
            if trades == "aggTrade":
                aggregate = _aggregate_row(text)
                row = Row(aggregate.a, text)
                good = usable(aggregate.p, aggregate.q, aggregate.T)
            else:
                trade = _trade_row(text)
                row = Row(trade.id, text)
                good = usable(trade.price, trade.qty, trade.time)
        except _UNUSABLE:
            continue
        if good and 0 <= row.id <= MAX_ID:
            rows.append(row)
    return Page(rows, len(rows) == len(raws))


class _Envelope(msgspec.Struct):
    symbol: str
    stream: str
    trades: msgspec.Raw


_envelope = msgspec.json.Decoder(_Envelope).decode


def envelope(symbol: str, trades: str, rows: list[Row]) -> bytes:
    """Return the log's entry for fetched trades, each row as the venue wrote it.

    >>> envelope("BTCUSDT", "trade", [Row(7, b'{"id":7}'), Row(8, b'{"id": 8}')])
    b'{"symbol":"BTCUSDT","stream":"trade","trades":[{"id":7},{"id": 8}]}'
    """
    made = msgspec.Raw(b"[" + b",".join(row.raw for row in rows) + b"]")
    return msgspec.json.encode(_Envelope(symbol, trades, made))


def read_envelope(payload: bytes, trades: str) -> tuple[str, list[Row]]:
    """Return the symbol and the trades of an entry of the log; none where it is of another tape.

    Raises:
        PageError: it is no such entry.
    """
    try:
        found = _envelope(payload)
    except _UNUSABLE:
        raise PageError("expected an envelope of trades") from None
    if found.stream != trades:
        return found.symbol, []
    return found.symbol, read_page(bytes(found.trades), trades).rows
