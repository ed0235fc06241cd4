import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.protobuf_wire import Field, Wire, encode
from exchange.yahoo_frames import NEWER_FIELDS, RECORDED, heartbeat, pricing, recorded_frames
from tests.exchange.pricing_reader import PricingData, as_fields, decoded

ROWS = [json.loads(line) for line in RECORDED.read_text().splitlines()]
SIGNED = st.integers(-(2**63), 2**63 - 1)
SINGLES = st.floats(width=32, allow_nan=False)


def strategy_of(field):
    kinds = {
        field.TYPE_STRING: st.text(max_size=200),
        field.TYPE_FLOAT: SINGLES,
        field.TYPE_DOUBLE: st.floats(allow_nan=False),
        field.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        field.TYPE_SINT64: SIGNED,
    }
    return kinds[field.type]


ALL = st.fixed_dictionaries(
    {}, optional={field.name: strategy_of(field) for field in PricingData.DESCRIPTOR.fields}
)


@given(ALL)
def test_what_is_written_is_byte_for_byte_what_the_reference_runtime_writes(values):
    # -0.0 is no zero to proto3, and is one to Python.
    values = {name: value for name, value in values.items() if value != 0 or value == ""}

    assert pricing(values) == PricingData(**values).SerializeToString(deterministic=True)


@given(ALL)
def test_the_reference_runtime_reads_what_was_written_zeros_included(values):
    read = decoded(pricing(values, explicit=values.keys()))

    assert all(getattr(read, name) == value for name, value in values.items())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["decoded"]["id"])
def test_each_real_frame_is_written_again_byte_for_byte(row):
    real = base64.b64decode(row["message"])
    values = as_fields(decoded(real))
    # One real server wrote a market_hours of 0 out; proto3 itself would leave it.
    explicit = ["market_hours"] if b"\x30\x08\x38\x00" in real else []

    assert pricing(values | dict.fromkeys(explicit, 0), explicit=explicit) == real


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["decoded"]["id"])
def test_the_tests_reader_finds_what_is_noted_of_each_real_frame(row):
    found = as_fields(decoded(base64.b64decode(row["message"])))

    for name, noted in row["decoded"].items():
        value = found[name]
        assert str(value) == str(noted) or value == pytest.approx(float(noted), rel=1e-6)


def test_recorded_frames_are_given_verbatim():
    assert [text for _, text in recorded_frames()] == [row["message"] for row in ROWS]


def test_newer_fields_are_stepped_over_by_a_reader_that_does_not_know_them():
    plain = {"id": "AAPL", "price": 170.25}

    read = decoded(pricing(plain, newer=NEWER_FIELDS))

    assert as_fields(read) == plain
    assert {field.number for field in NEWER_FIELDS} <= set(range(34, 48))


def test_a_zero_is_not_on_the_wire():
    assert pricing({"id": "AAPL", "market_hours": 0, "day_volume": 0}) == pricing({"id": "AAPL"})


def test_a_heartbeat_names_no_symbol_and_a_whole_second():
    assert as_fields(decoded(heartbeat(1_723_161_260_302_814_822))) == {
        "time": 1_723_161_260_000,
        "quote_type": 7,
    }


@pytest.mark.parametrize(("wire", "value"), [(Wire.SINT64, 2**63), (Wire.FLOAT, 1e300)])
def test_a_number_that_does_not_fit_is_refused(wire, value):
    with pytest.raises(ValueError, match="field 9"):
        encode([Field(9, wire, value)])
