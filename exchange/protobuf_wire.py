"""Write protocol-buffers messages by hand: varints, zigzag, fixed-width floats, strings.

The fake venue writes its frames with this and no client reads them with it: two ends that
shared one implementation, or one schema, could share its mistake. Source: the protocol
buffers' encoding guide.
"""

import struct
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

__all__ = ["Field", "Wire", "encode", "varint", "zigzag"]

_UNSIGNED = (1 << 64) - 1


class Wire(Enum):
    """How a value is written; the value is the wire type in its tag."""

    INT32 = "int32"
    SINT64 = "sint64"
    FLOAT = "float"
    DOUBLE = "double"
    STRING = "string"


_WIRE_TYPES = {Wire.INT32: 0, Wire.SINT64: 0, Wire.DOUBLE: 1, Wire.STRING: 2, Wire.FLOAT: 5}


class Field(NamedTuple):
    """One field to be written."""

    number: int
    wire: Wire
    value: float | str


def varint(value: int) -> bytes:
    """Write an unsigned number, seven bits a byte, the lowest first.

    >>> varint(300).hex()
    'ac02'
    """
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def zigzag(value: int) -> int:
    """Fold a signed number so that small ones of either sign stay short.

    >>> [zigzag(n) for n in (0, -1, 1, -2)]
    [0, 1, 2, 3]
    """
    return (value << 1 ^ value >> 63) & _UNSIGNED


def encode(fields: Iterable[Field]) -> bytes:
    """Write a message in the order of `fields`; which zeros to leave out is the caller's choice.

    Raises:
        ValueError: a number does not fit its field.
    """
    return b"".join(
        varint(field.number << 3 | _WIRE_TYPES[field.wire]) + _payload(field) for field in fields
    )


def _payload(field: Field) -> bytes:
    value = field.value
    if field.wire is Wire.STRING:
        text = str(value).encode()
        return varint(len(text)) + text
    number = float(value) if field.wire in {Wire.FLOAT, Wire.DOUBLE} else int(value)
    try:
        if field.wire is Wire.FLOAT:
            return struct.pack("<f", number)
        if field.wire is Wire.DOUBLE:
            return struct.pack("<d", number)
    except OverflowError as error:
        raise ValueError(f"field {field.number}: {value} is no float") from error
    whole = int(number)
    if not -(1 << 63) <= whole < 1 << 63:
        raise ValueError(f"field {field.number}: {value} has more than 64 bits")
    # A negative int32 is written as if it were 64 bits wide.
    return varint(zigzag(whole) if field.wire is Wire.SINT64 else whole & _UNSIGNED)
