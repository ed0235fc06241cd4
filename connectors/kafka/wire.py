"""How messages stand in the log: typed, versioned JSON that comes back bit for bit.

The header `type` names the message, `v` the version of its form. Arrays are base64 of their
bytes with their type and shape, so that floats come back as they were, NaN among them.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, get_args, get_origin

import msgspec
import numpy as np

from operators.messages import (
    Bar,
    Barrier,
    Checkpoint,
    Clock,
    Commit,
    Control,
    CrossSection,
    DeliveredBar,
    Fused,
    Gap,
    Headline,
    Hole,
    Mood,
    Notice,
    Part,
    Quote,
    Reason,
    Rejection,
    Repaired,
    ScoredHeadline,
    Skipped,
    Switch,
    Tally,
    Tick,
)

VERSION = "1"
END = "end"  # closes a partition of a replay; see KafkaSource
PAYLOAD_KEPT = 4096  # bytes of an entry that could not be read


class Outgoing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a sink sends: `topic` is the name without the prefix.

    Without a partition the key decides, as `partition_of` does. A value of None is a
    tombstone: compaction drops the key.
    """

    topic: str
    type: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    version: str = VERSION
    # Of the entries that one writer sends into this partition, from 1 on: a repeat has a number
    # that was read already.
    number: int | None = None
    after_all: bool = False  # only once all before it is acknowledged


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a source read: a message of the broker, not decoded yet."""

    type: str
    version: str
    value: bytes | None
    offset: int  # in its partition
    ts_init: int = 0  # when it was sent, ns
    key: bytes | None = None
    number: int = 0  # 0: not numbered


def name_of(kind: type) -> str:
    """Return how the log calls a message's class.

    >>> name_of(DeliveredBar)
    'delivered_bar'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


# ------------------------------------------------------------------------------- arrays


def _from_array(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        raise NotImplementedError(f"no form on the wire for {type(value).__name__}")
    return {"dtype": value.dtype.str, "shape": value.shape, "data": value.tobytes()}


class _Array(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def _to_array(kind: Any, value: Any) -> Any:
    if get_origin(kind) is not np.ndarray:
        raise NotImplementedError(f"no form on the wire for {kind}")
    array = msgspec.convert(value, _Array)
    expected = np.dtype(get_args(get_args(kind)[1])[0])
    if array.dtype != expected.str:
        raise ValueError(f"expected an array of {expected.str}, found {array.dtype}")
    # A copy, since one may be written to and has the alignment that any other array has.
    return np.frombuffer(array.data, dtype=expected).reshape(array.shape).copy()


# ------------------------------------------- messages that hold a notice, whose body is a choice


class _Notice(msgspec.Struct, frozen=True, gc=False):
    after: int
    offset: int
    kind: str
    body: msgspec.Raw


class _Cross(CrossSection, frozen=True, kw_only=True):
    notices: tuple[_Notice, ...] = ()  # type: ignore[assignment]


class _Fused(Fused, frozen=True, kw_only=True):
    cross: _Cross


BODIES: dict[str, Any] = {name_of(kind): kind for kind in (Headline, ScoredHeadline, Mood, Control)}


def _from_notice(notice: Notice) -> dict[str, Any]:
    return msgspec.structs.asdict(notice) | {"kind": name_of(type(notice.body))}


def _to_notice(found: _Notice) -> Notice:
    body = BODIES.get(found.kind)
    if body is None:
        raise msgspec.ValidationError(f"no notice is of the kind {found.kind!r}")
    return Notice(
        after=found.after, offset=found.offset, body=msgspec.json.decode(found.body, type=body)
    )


def _from_fused(fused: Fused) -> dict[str, Any]:
    notices = [_from_notice(notice) for notice in fused.cross.notices]
    cross = msgspec.structs.asdict(fused.cross) | {"notices": notices}
    return msgspec.structs.asdict(fused) | {"cross": cross}


def _to_fused(found: _Fused) -> Fused:
    cross = msgspec.structs.asdict(found.cross)
    cross["notices"] = tuple(_to_notice(notice) for notice in found.cross.notices)
    return Fused(**(msgspec.structs.asdict(found) | {"cross": CrossSection(**cross)}))


# ------------------------------------------------------------------------------- the log

TYPES: dict[str, type] = {
    name_of(kind): kind
    for kind in (
        Tick,
        Quote,
        DeliveredBar,
        Clock,
        Notice,
        Hole,
        Switch,
        Rejection,
        Skipped,
        Tally,
        Gap,
        Bar,
        Repaired,
        Checkpoint,
        Fused,
        Part,
        Commit,
        Barrier,
    )
}
_PLACED = frozenset({"clock", "fused"})  # whose `offset` is their place in the partition
_NAMES = {kind: name for name, kind in TYPES.items()}
_FROM: dict[type, Callable[[Any], Any]] = {Notice: _from_notice, Fused: _from_fused}
_FORMS: dict[str, Any] = {"notice": _Notice, "fused": _Fused}
_INTO: dict[str, Callable[[Any], Any]] = {"notice": _to_notice, "fused": _to_fused}
_encode = msgspec.json.Encoder(enc_hook=_from_array).encode


def encode(message: Any) -> tuple[str, bytes]:
    """Return a message's type and its value as JSON.

    Raises:
        TypeError: messages of this class do not stand in the log.

    >>> encode(Tally(key="a", name="b", count=1))
    ('tally', b'{"key":"a","name":"b","count":1}')
    """
    kind = type(message)
    if kind not in _NAMES:
        raise TypeError(f"no {kind.__name__} stands in the log; expected one of {sorted(TYPES)}")
    form = _FROM.get(kind)
    return _NAMES[kind], _encode(message if form is None else form(message))


def outgoing(
    message: Any, topic: str, *, partition: int | None, key: str = "", number: int | None = None
) -> Outgoing:
    """Return `message` as an entry of a log's partition. Raises what `encode` raises."""
    name, value = encode(message)
    return Outgoing(
        topic=topic,
        type=name,
        value=value,
        key=key.encode() or None,
        partition=partition,
        number=number,
    )


def end(topic: str, partition: int) -> Outgoing:
    """Return the mark that closes a partition of a replay."""
    return Outgoing(topic=topic, type=END, value=b"{}", partition=partition)


def form_of(name: str) -> Any:
    """Return the class whose fields are those of a type's JSON."""
    return _FORMS.get(name, TYPES[name])


@cache
def _decoder(name: str) -> Callable[[bytes], Any]:
    read = msgspec.json.Decoder(form_of(name), dec_hook=_to_array).decode
    into = _INTO.get(name)
    return read if into is None else lambda value: into(read(value))


def place(message: Any, entry: Entry) -> Any:
    """Tell a Clock or `Fused` where it stands: from there a reader can go on."""
    if isinstance(message, Clock | Fused):
        return msgspec.structs.replace(message, offset=entry.offset)
    return message


def decode(entry: Entry) -> Any:
    """Return the message of an entry, or a `Rejection` if it cannot be read. Never raises.

    A `Clock` and a `Fused` come with their place in the partition as `offset`. The reason of
    a rejection is BAD_TYPE for an unknown type, version or shape, else BAD_JSON.

    >>> decode(Entry(type="tally", version="1", value=b'{"key":"a","name":"b","count":1}',
    ...              offset=7))
    Tally(key='a', name='b', count=1)
    >>> decode(Entry(type="tally", version="9", value=b"{}", offset=7)).reason
    <Reason.BAD_TYPE: 'bad_type'>
    """
    if entry.version != VERSION or entry.type not in TYPES or entry.value is None:
        return rejected(entry, Reason.BAD_TYPE)
    try:
        message = _decoder(entry.type)(entry.value)
    except msgspec.ValidationError:
        return rejected(entry, Reason.BAD_TYPE)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return rejected(entry, Reason.BAD_JSON)
    if entry.type in _PLACED:
        return msgspec.structs.replace(message, offset=entry.offset)
    return message


def rejected(entry: Entry, reason: Reason) -> Rejection:
    """Return the rejection of an entry."""
    payload = (entry.value or b"")[:PAYLOAD_KEPT]
    return Rejection(reason=reason, payload=payload, ts_init=entry.ts_init, offset=entry.offset)
