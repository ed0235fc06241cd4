"""Build Yahoo's frames by hand, so that tests do not check protobuf against itself."""

import json
import struct
from base64 import b64encode

from tests.support import DATA

REAL = [
    json.loads(line) for line in (DATA / "yahoo/pricing_messages.jsonl").read_text().splitlines()
]
# (field number, wire form) by name; only what tests set.
_FIELDS = {
    "id": (1, "string"),
    "price": (2, "float"),
    "time": (3, "sint"),
    "currency": (4, "string"),
    "quote_type": (6, "int"),
    "market_hours": (7, "int"),
    "day_volume": (9, "sint"),
    "bid": (23, "float"),
    "bid_size": (24, "sint"),
    "ask": (25, "float"),
    "ask_size": (26, "sint"),
    "vol_24hr": (28, "sint"),
    "unknown": (47, "string"),
}
EQUITY, CRYPTOCURRENCY = 8, 41


def wire(**fields):
    """Return the protobuf of the fields given."""
    out = bytearray()
    for name, value in fields.items():
        number, form = _FIELDS[name]
        if form == "float":
            out += _varint(number << 3 | 5) + struct.pack("<f", value)
        elif form == "string":
            text = value.encode()
            out += _varint(number << 3 | 2) + _varint(len(text)) + text
        else:
            zigzag = value * 2 if value >= 0 else -value * 2 - 1
            out += _varint(number << 3) + _varint(zigzag if form == "sint" else value)
    return bytes(out)


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def frame(**fields):
    """Return a frame as Yahoo sends it, of an equity unless told otherwise."""
    return enveloped(b64encode(wire(**{"quote_type": EQUITY} | fields)).decode())


def enveloped(message, kind="pricing"):
    return json.dumps({"type": kind, "message": message}, separators=(",", ":")).encode()
