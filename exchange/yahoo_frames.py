"""Yahoo's PricingData as frames: generated ones field by field, recorded ones verbatim.

Real frames leave out what is zero, name no currency for shares, tell the day's high and low
only where they changed, and hold times of whole seconds. Generated frames do the same.
"""

import base64
import json
from collections.abc import Collection, Mapping
from pathlib import Path

from exchange.prints import CRYPTO, PRE, Print
from exchange.protobuf_wire import Field, Wire, encode

__all__ = [
    "NEWER_FIELDS",
    "RECORDED",
    "base64_of",
    "enveloped",
    "heartbeat",
    "pricing",
    "print_frame",
    "recorded_frames",
]

RECORDED = Path(__file__).parents[1] / "data/yahoo/pricing_messages.jsonl"

SECOND = 1_000_000_000
HEARTBEAT = 7

_FIELDS: dict[str, tuple[int, Wire]] = {
    "id": (1, Wire.STRING),
    "price": (2, Wire.FLOAT),
    "time": (3, Wire.SINT64),  # epoch ms
    "currency": (4, Wire.STRING),
    "exchange": (5, Wire.STRING),
    "quote_type": (6, Wire.INT32),
    "market_hours": (7, Wire.INT32),
    "change_percent": (8, Wire.FLOAT),
    "day_volume": (9, Wire.SINT64),
    "day_high": (10, Wire.FLOAT),
    "day_low": (11, Wire.FLOAT),
    "change": (12, Wire.FLOAT),
    "short_name": (13, Wire.STRING),
    "expire_date": (14, Wire.SINT64),
    "open_price": (15, Wire.FLOAT),
    "previous_close": (16, Wire.FLOAT),
    "strike_price": (17, Wire.FLOAT),
    "underlying_symbol": (18, Wire.STRING),
    "open_interest": (19, Wire.SINT64),
    "options_type": (20, Wire.SINT64),
    "mini_option": (21, Wire.SINT64),
    "last_size": (22, Wire.SINT64),
    "bid": (23, Wire.FLOAT),
    "bid_size": (24, Wire.SINT64),
    "ask": (25, Wire.FLOAT),
    "ask_size": (26, Wire.SINT64),
    "price_hint": (27, Wire.SINT64),
    "vol_24hr": (28, Wire.SINT64),
    "vol_all_currencies": (29, Wire.SINT64),
    "from_currency": (30, Wire.STRING),
    "last_market": (31, Wire.STRING),
    "circulating_supply": (32, Wire.DOUBLE),
    "market_cap": (33, Wire.DOUBLE),
}
# Fields 34-47 exist at the real venue; what they mean is not known here. Their content
# is a filler, one of each wire type, that an old client has to step over.
NEWER_FIELDS = (
    Field(34, Wire.STRING, "newer"),
    Field(36, Wire.FLOAT, 1.5),
    Field(41, Wire.SINT64, -7),
    Field(44, Wire.DOUBLE, 0.25),
    Field(47, Wire.INT32, 3),
)


def pricing(
    values: Mapping[str, float | str],
    *,
    explicit: Collection[str] = (),
    newer: Collection[Field] = (),
) -> bytes:
    """Write a PricingData in the order of its field numbers.

    Zeros and empty strings are left out except the fields named in `explicit`: some of the
    real venue's frames do write a zero (a market_hours of 0 in 2026). `newer` fields follow.

    Raises:
        KeyError: a name that PricingData does not have.
        ValueError: a number that does not fit its field.
    """
    known = sorted(
        Field(*_FIELDS[name], value)
        for name, value in values.items()
        if name in explicit or value not in {0, ""}
    )
    return encode([*known, *newer])


def print_frame(seen: Print, *, newer: bool = False) -> bytes:
    """Write the frame of a print, as real frames of its kind are filled.

    `newer`: as a newer server does, with further fields and market_hours even where it is 0.
    """
    change = seen.price - seen.previous_close
    values: dict[str, float | str] = {
        "id": seen.symbol,
        "price": seen.price,
        "time": seen.ts // SECOND * 1000,
        "exchange": seen.exchange,
        "quote_type": seen.quote_type,
        "market_hours": seen.market_hours,
        "change_percent": 100 * change / seen.previous_close,
        "day_volume": seen.day_volume,
        "change": change,
        "price_hint": 2,
    }
    if seen.extreme and seen.market_hours != PRE:
        values |= {"day_high": seen.day_high, "day_low": seen.day_low}
    if seen.quote_type == CRYPTO:
        # The recorded frame of a pair has the day's volume in all of these, last_size too.
        sizes = ("last_size", "vol_24hr", "vol_all_currencies")
        values |= dict.fromkeys(sizes, seen.day_volume)
        values |= {
            "currency": "USD",
            "open_price": seen.day_open,
            "from_currency": seen.symbol.removesuffix("-USD"),
        }
    if not newer:
        return pricing(values)
    return pricing(values, explicit={"market_hours"}, newer=NEWER_FIELDS)


def heartbeat(now: int) -> bytes:
    """Write a heartbeat at venue time `now` (ns): no symbol, no price."""
    return pricing({"time": now // SECOND * 1000, "quote_type": HEARTBEAT})


def enveloped(frame: str, *, version: int) -> str:
    """Wrap a base64 frame as the streamer does: in JSON from version 2 on, bare before."""
    return json.dumps({"type": "pricing", "message": frame}) if version >= 2 else frame


def base64_of(message: bytes) -> str:
    """Write a message's bytes as the text that goes into a frame."""
    return base64.b64encode(message).decode()


def recorded_frames(path: Path = RECORDED) -> list[tuple[str, str]]:
    """Read recorded frames: (symbol, base64 verbatim), in the file's order.

    Raises:
        OSError: the file cannot be read.
    """
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [(row["decoded"]["id"], row["message"]) for row in rows]
