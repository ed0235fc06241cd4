"""Read Yahoo's streaming frames: a JSON envelope or bare base64 around a protobuf.

Stage and source share this: the one makes ticks of a frame, the other must know whose it is.
Field numbers are those of Yahoo's `PricingData` (proto3); fields that it does not name here
are skipped. The message class is made in code, so that no compiler and no generated file is
needed.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any, NamedTuple

import msgspec
import numpy as np
from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from operators.checks import UNDECODABLE, MalformedError
from operators.messages import Reason

PRICING = "pricing"
HEARTBEAT = 7  # a quote type
# The longest of Yahoo's own messages have 300 characters.
MAX_MESSAGE = 1 << 16


class Pricing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One `PricingData`; what the wire does not hold is zero, and zero is never on the wire.

    So a `market_hours` of 0 says "before the session" or nothing at all, and a price of 0 says
    that there is none. `time` and `expire_date` are UNIX milliseconds.
    """

    id: str = ""
    price: float = 0.0
    time: int = 0
    currency: str = ""
    exchange: str = ""
    quote_type: int = 0
    market_hours: int = 0
    change_percent: float = 0.0
    day_volume: int = 0
    day_high: float = 0.0
    day_low: float = 0.0
    change: float = 0.0
    short_name: str = ""
    expire_date: int = 0
    open_price: float = 0.0
    previous_close: float = 0.0
    strike_price: float = 0.0
    underlying_symbol: str = ""
    open_interest: int = 0
    options_type: int = 0
    mini_option: int = 0
    last_size: int = 0
    bid: float = 0.0
    bid_size: int = 0
    ask: float = 0.0
    ask_size: int = 0
    price_hint: int = 0
    vol_24hr: int = 0
    vol_all_currencies: int = 0
    from_currency: str = ""
    last_market: str = ""
    circulating_supply: float = 0.0
    market_cap: float = 0.0


class Frame(NamedTuple):
    """A frame taken apart: its type, and its message still in base64."""

    kind: str
    message: bytes


class _Envelope(msgspec.Struct, gc=False):
    type: str
    message: str | None = None


_NUMBERS = {
    "string": {
        "id": 1,
        "currency": 4,
        "exchange": 5,
        "short_name": 13,
        "underlying_symbol": 18,
        "from_currency": 30,
        "last_market": 31,
    },
    "float": {
        "price": 2,
        "change_percent": 8,
        "day_high": 10,
        "day_low": 11,
        "change": 12,
        "open_price": 15,
        "previous_close": 16,
        "strike_price": 17,
        "bid": 23,
        "ask": 25,
    },
    "int32": {"quote_type": 6, "market_hours": 7},
    "sint64": {
        "time": 3,
        "day_volume": 9,
        "expire_date": 14,
        "open_interest": 19,
        "options_type": 20,
        "mini_option": 21,
        "last_size": 22,
        "bid_size": 24,
        "ask_size": 26,
        "price_hint": 27,
        "vol_24hr": 28,
        "vol_all_currencies": 29,
    },
    "double": {"circulating_supply": 32, "market_cap": 33},
}
_SINGLES = frozenset(_NUMBERS["float"])
_ENVELOPE = msgspec.json.Decoder(_Envelope).decode


def _message_class() -> Any:
    """Return protobuf's class of `PricingData`; Any, since the package has no types."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="yahoo_pricing.proto", package="yahoo", syntax="proto3"
    )
    message = file.message_type.add(name="PricingData")
    for kind, fields in _NUMBERS.items():
        for name, number in fields.items():
            message.field.add(
                name=name,
                number=number,
                type=kinds.Type.Value(f"TYPE_{kind.upper()}"),
                label=kinds.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()  # a pool of its own: names clash with nobody's
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("yahoo.PricingData"))


_PRICING_DATA = _message_class()


def read_frame(payload: bytes) -> Frame:
    """Take a frame apart: `{"type": ..., "message": ...}`, or base64 alone.

    Raises MalformedError with BAD_JSON, BAD_TYPE or TOO_LONG.

    >>> read_frame(b'{"type":"pricing","message":"CgRBQVBM"}')
    Frame(kind='pricing', message=b'CgRBQVBM')
    >>> read_frame(b"CgRBQVBM")
    Frame(kind='pricing', message=b'CgRBQVBM')
    """
    text = payload.strip()
    if not text.startswith(b"{"):
        kind, message = PRICING, text
    else:
        try:
            envelope = _ENVELOPE(text)
        except msgspec.ValidationError:
            raise MalformedError(Reason.BAD_TYPE) from None
        except UNDECODABLE:
            raise MalformedError(Reason.BAD_JSON) from None
        if envelope.message is None and envelope.type == PRICING:
            raise MalformedError(Reason.BAD_TYPE)
        kind, message = envelope.type, (envelope.message or "").encode()
    if len(message) > MAX_MESSAGE:
        raise MalformedError(Reason.TOO_LONG)
    return Frame(kind, message)


def decode_pricing(message: bytes) -> Pricing:
    """Decode a frame's message (base64 of a protobuf), its numbers not yet judged.

    Raises MalformedError with UNREADABLE for what is no base64, or no protobuf.

    >>> pricing = decode_pricing(b"CgRBQVBMFUjhmEMY4Jbi68lnKgNOTVMwCDgARTxEgT5lACBFP9gBBA==")
    >>> pricing.id, pricing.price, pricing.time, pricing.exchange
    ('AAPL', 305.76, 1779437422000, 'NMS')
    """
    found = _PRICING_DATA()
    try:
        found.ParseFromString(b64decode(message, validate=True))
    except (Base64Error, ValueError, DecodeError):
        raise MalformedError(Reason.UNREADABLE) from None
    values: dict[str, Any] = {field.name: value for field, value in found.ListFields()}
    for name in _SINGLES & values.keys():
        values[name] = shortest(values[name])
    return Pricing(**values)


def shortest(value: float) -> float:
    """Return the shortest decimal that is the same number in single precision.

    Yahoo rounds its prices to 32 bits; widened to 64, 187.34 reads 187.33999633789062, a price
    that nobody quoted. Of all decimals that round to the same single, the shortest is the one
    that was meant, as long as the price had no more than seven digits or so.

    >>> shortest(187.33999633789062)
    187.34
    """
    return float(str(np.float32(value)))
