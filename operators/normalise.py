"""Decode the log: venue payloads become ticks, quotes, bars and notices, whole batches at once.

Each entry becomes a message: what it says, a `Rejection` with its reason, or `Skipped` with
its type. Pages of trades and frames of several values become as many as they hold.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from operators import alpha_vantage, binance, sbi, yahoo
from operators.checks import (
    EARLIEST,
    LATEST,
    MAX_ID,
    UNDECODABLE,
    BarEntry,
    MalformedError,
    checked_bar,
)
from operators.messages import (
    Clock,
    Control,
    DeliveredBar,
    Headline,
    Hole,
    HoleState,
    Mood,
    Notice,
    Raw,
    Reason,
    Rejection,
    Skipped,
    Switch,
    Tick,
)
from operators.orders import fault

PAYLOAD_KEPT = 4096  # bytes of a rejected payload
_TRADES_THAT_TELL = 20


class _News(msgspec.Struct, gc=False):
    text: str
    id: str | None = None
    source: str = ""
    lang: str = "en"
    symbols: tuple[str, ...] = ()
    published_at: int | None = None
    available_at: int | None = None
    author_hash: str | None = None
    names: dict[str, str] = {}


def normalise(raws: Iterable[Raw], receive_offset_ns: int = 0) -> list[Any]:
    """Decode a batch of log entries into messages, in order.

    `receive_offset_ns` is how far the recorder's clock ran behind the venue's; a message
    without venue time is stamped with its receive time plus this. Headlines, moods and
    controls come as a `Notice` that does not know its Clock yet (`after` is 0).

    >>> line = b'{"e":"trade","s":"BTCUSDT","t":7,"p":"61.5","q":"0.02","T":1723161255342,"m":true}'
    >>> raw = Raw(offset=0, path="a", kind="binance", ts_init=1723161255400000000, payload=line)
    >>> [tick] = normalise([raw])
    >>> tick.symbol, tick.price, tick.size, tick.trade_id, tick.side.value
    ('BTCUSDT', 61.5, 0.02, 7, 'sell')
    >>> cut = msgspec.structs.replace(raw, payload=line[:-9])
    >>> normalise([cut])[0].reason
    <Reason.BAD_JSON: 'bad_json'>
    """
    out: list[Any] = []
    append = out.append
    for raw in raws:
        try:
            if raw.kind == "binance":
                append(binance.decode(raw, receive_offset_ns))
            else:
                found = _OTHERS.get(raw.kind, _unknown)(raw)
                if type(found) is list:
                    out.extend(found)
                else:
                    append(found)
        except MalformedError as error:
            append(_rejected(raw, error.reason))
    return out


def receive_offset(messages: Iterable[Any]) -> int | None:
    """Return how far the recorder's clock ran behind the venue's: the median over trades.

    For a recording of unknown origin, from the messages of its beginning, normalised without
    an offset. None where fewer than twenty trades tell. Transport counts against it, so the
    true offset is larger by the link's usual delay.
    """
    ahead = sorted(m.ts_event - m.ts_init for m in messages if isinstance(m, Tick))
    return ahead[len(ahead) // 2] if len(ahead) >= _TRADES_THAT_TELL else None


def _rejected(raw: Raw, reason: Reason) -> Rejection:
    payload = raw.payload[:PAYLOAD_KEPT]
    return Rejection(reason=reason, payload=payload, ts_init=raw.ts_init, offset=raw.offset)


def _decoded(raw: Raw, decode: Callable[[bytes], Any]) -> Any:
    try:
        return decode(raw.payload)
    except msgspec.ValidationError:
        raise MalformedError(Reason.BAD_TYPE) from None
    except UNDECODABLE:
        raise MalformedError(Reason.BAD_JSON) from None


def _storable(ts: int) -> int:
    """Return a time (ns) that a store can hold; what we only pass on may be of any age."""
    if 0 <= ts < LATEST:
        return ts
    raise MalformedError(Reason.BAD_VALUE)


_FILE_BAR = msgspec.json.Decoder(BarEntry).decode
_NEWS = msgspec.json.Decoder(_News).decode
_MOOD = msgspec.json.Decoder(Mood).decode
_CONTROL = msgspec.json.Decoder(Control).decode
_CLOCK = msgspec.json.Decoder(Clock).decode
_HOLE = msgspec.json.Decoder(Hole).decode
_SWITCH = msgspec.json.Decoder(Switch).decode


def _file_bar(raw: Raw) -> DeliveredBar:
    bar = checked_bar(_decoded(raw, _FILE_BAR))
    return DeliveredBar(symbol=bar.symbol, bar=bar, ts_init=raw.ts_init, offset=raw.offset)


def _headline(raw: Raw) -> Notice:
    news: _News = _decoded(raw, _NEWS)
    if not news.text.strip():
        raise MalformedError(Reason.BAD_VALUE)
    available_at = _storable(raw.ts_init if news.available_at is None else news.available_at)
    digest = blake2b(f"{news.source}\0{news.text}".encode(), digest_size=8).hexdigest()
    body = Headline(
        id=digest if news.id is None else news.id,
        source=news.source,
        lang=news.lang,
        symbols=news.symbols,
        text=news.text,
        published_at=available_at if news.published_at is None else _storable(news.published_at),
        available_at=available_at,
        author_hash=news.author_hash,
        names={symbol: name for symbol, name in news.names.items() if symbol in news.symbols},
    )
    return Notice(after=0, offset=raw.offset, body=body)


def _mood(raw: Raw) -> Notice:
    mood: Mood = _decoded(raw, _MOOD)
    if not 0.0 <= mood.value <= 100.0:
        raise MalformedError(Reason.BAD_VALUE)
    _storable(mood.available_at)
    return Notice(after=0, offset=raw.offset, body=mood)


def _control(raw: Raw) -> Notice:
    control: Control = _decoded(raw, _CONTROL)
    if fault(control) is not None:
        raise MalformedError(Reason.BAD_VALUE)
    _storable(control.ts_event)
    return Notice(after=0, offset=raw.offset, body=control)


def _clock(raw: Raw) -> Clock:
    clock: Clock = _decoded(raw, _CLOCK)
    if not EARLIEST <= clock.ts_event < LATEST:
        raise MalformedError(Reason.BAD_VALUE)
    return clock


def _hole(raw: Raw) -> Hole:
    hole: Hole = _decoded(raw, _HOLE)
    ended = hole.state in {HoleState.ENDED, HoleState.FILLED, HoleState.COVERED}
    numbers = (hole.first_id, hole.last_id, hole.trades)
    if (
        (ended and hole.ts_to is None)
        or (hole.ts_to is not None and _storable(hole.ts_to) < hole.ts_from)
        or not all(number is None or 0 <= number <= MAX_ID for number in numbers)
        or not (hole.feed and hole.symbol)
    ):
        raise MalformedError(Reason.BAD_VALUE)
    _storable(hole.ts_from)
    _storable(hole.found_at)
    _storable(hole.resolved_at or 0)
    return msgspec.structs.replace(hole, offset=raw.offset)


def _switch(raw: Raw) -> Switch:
    switch: Switch = _decoded(raw, _SWITCH)
    _storable(switch.ts_event)
    if not (switch.symbol and switch.after):
        raise MalformedError(Reason.BAD_VALUE)
    return msgspec.structs.replace(switch, offset=raw.offset)


def _bad(raw: Raw) -> Rejection:
    return _rejected(raw, raw.reason or Reason.UNREADABLE)


def _unknown(raw: Raw) -> Skipped:
    return Skipped(kind=raw.kind, ts_init=raw.ts_init, offset=raw.offset)


# A list stands for as many messages as it holds.
_OTHERS: dict[str, Callable[[Raw], Any]] = {
    "binance_rest": binance.decode_rest,
    "yahoo": yahoo.decode,
    "alpha_vantage": alpha_vantage.decode,
    "sbi": sbi.decode,
    "bar": _file_bar,
    "headline": _headline,
    "mood": _mood,
    "control": _control,
    "clock": _clock,
    "hole": _hole,
    "switch": _switch,
    "bad": _bad,
}
