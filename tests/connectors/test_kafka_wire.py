import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from connectors.kafka import schemas, wire
from connectors.kafka.wire import Entry
from operators.messages import Clock, Fused, Reason, Rejection
from tests.support import clock, tick
from tests.wire_samples import fused, samples


def entry(kind, value, offset=0, version=wire.VERSION):
    return Entry(type=kind, version=version, value=value, offset=offset, ts_init=9)


def again(message):
    return wire.decode(entry(*wire.encode(message)))


def same(one, other):
    """Say whether two messages are equal to the last bit, arrays and NaN included."""
    if isinstance(one, np.ndarray):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, msgspec.Struct):
        return type(one) is type(other) and all(
            same(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__
        )
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return repr(one) == repr(other)


@pytest.mark.parametrize("message", samples(), ids=lambda message: type(message).__name__)
def test_each_message_comes_back_to_the_last_bit(message):
    assert same(again(message), message)


def test_there_is_a_sample_of_each_type():
    assert {type(message) for message in samples()} == set(wire.TYPES.values())


@given(st.floats(allow_nan=False, allow_infinity=False), st.text())
def test_any_price_and_any_text_come_back(price, symbol):
    message = tick(symbol=symbol, price=price)
    assert same(again(message), message)


def test_arrays_can_be_written_to():
    again(fused()).score[0] = 1.0


def test_a_clock_and_fused_scores_are_told_their_place():
    for message, kind in ((clock(), Clock), (fused(), Fused)):
        found = wire.decode(entry(*wire.encode(message), offset=77))
        assert type(found) is kind
        assert found.offset == 77


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (entry("tock", b"{}"), Reason.BAD_TYPE),
        (entry("", b"{}"), Reason.BAD_TYPE),
        (entry("tick", b"{}", version="2"), Reason.BAD_TYPE),
        (entry("tick", None), Reason.BAD_TYPE),
        (entry("tick", b'{"symbol":1}'), Reason.BAD_TYPE),
        (entry("tick", b"{"), Reason.BAD_JSON),
        (entry("tick", b"\xff"), Reason.BAD_JSON),
        (entry("clock", b'{"x":' + b"[" * 100_000), Reason.BAD_JSON),
        (entry("notice", b'{"after":1,"offset":1,"kind":"x","body":{}}'), Reason.BAD_TYPE),
        (entry("notice", b'{"after":1,"offset":1,"kind":"mood","body":{}}'), Reason.BAD_TYPE),
        (entry("fused", wire.encode(fused())[1].replace(b"<f8", b"<f4")), Reason.BAD_TYPE),
        (entry("fused", wire.encode(fused())[1].replace(b'"<f8"', b'"|O"')), Reason.BAD_TYPE),
        (entry("fused", wire.encode(fused())[1].replace(b"[2]", b"[3]")), Reason.BAD_TYPE),
    ],
)
def test_what_cannot_be_read_is_rejected_with_its_place(found, reason):
    rejection = wire.decode(msgspec.structs.replace(found, offset=5))

    assert type(rejection) is Rejection
    assert (rejection.reason, rejection.offset, rejection.ts_init) == (reason, 5, 9)
    assert rejection.payload == (found.value or b"")[: wire.PAYLOAD_KEPT]


@given(st.sampled_from(sorted(wire.TYPES)), st.binary())
def test_no_bytes_raise(kind, value):
    wire.decode(entry(kind, value))


def test_other_messages_do_not_stand_in_the_log():
    with pytest.raises(TypeError, match="no Entry stands in the log"):
        wire.encode(entry("a", b""))


@pytest.mark.parametrize("message", samples(), ids=lambda message: type(message).__name__)
def test_each_message_is_as_its_schema_says(message):
    name, value = wire.encode(message)
    validator = Draft202012Validator(schemas.load(name))
    found = json.loads(value)

    validator.check_schema(schemas.load(name))
    validator.validate(found)
    broken = dict(found)
    broken.pop(next(iter(schemas.load(name)["required"])))
    assert not validator.is_valid(broken)


def test_the_files_of_schemas_are_those_of_the_code():
    assert {name: schemas.load(name) for name in schemas.names()} == schemas.made()
