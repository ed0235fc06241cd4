import json
import math

import msgspec
import pytest
from jsonschema import Draft202012Validator

from connectors.kafka import records, schemas
from connectors.kafka.records import RecordError, outgoing_of, refused_row, row_of
from connectors.kafka.topics import OUTPUTS
from connectors.kafka.wire import Entry
from connectors.sinks.sqlite import rows_of
from connectors.sinks.tables import TABLES
from operators.messages import (
    Action,
    Control,
    Holding,
    Mood,
    Outcome,
    Portfolio,
    Reason,
    Rejection,
    Signal,
)
from tests.stores import alert
from tests.support import headline, notice
from tests.wire_samples import AWKWARD, samples


def entry_of(sent, offset=0):
    return Entry(
        type=sent.type, version=sent.version, value=sent.value, offset=offset, key=sent.key
    )


def signal(**fields):
    return Signal(
        **{
            "signal_id": "ab12",
            "symbol": "BTCUSDT",
            "ts_close": 1_723_161_255_000_000_001,
            "interval": 10**9,
            "action": Action.BUY,
            "score": 0.1 + 0.2,
            "confidence": 1e-9,
            "target_position": -0.0,
            "approved": True,
            "price": 61_234.5,
            "reasons": ("gap", 'a "quote" \u2028 é'),
            "detail": {"z": [1.0, None, math.nan], "a": {"2": 1e22, "10": 5}},
        }
        | fields
    )


def messages():
    """Return messages of every table that flows fill."""
    portfolio = Portfolio(
        ts_close=5, cash=AWKWARD[0], equity=AWKWARD[1], gross=0.1, net=-0.1, drawdown=0.0,
        var_95=None, var_99=0.1, costs=1.0, trades=3, buy_and_hold=9.5, stopped=False,
        holdings=(Holding(symbol="A", quantity=0.1, price=2.0),), risk={"b": 1, "a": [0.1]},
    )  # fmt: skip
    outcome = Outcome(
        signal_id="ab12", symbol="BTCUSDT", ts_close=5, horizon_ns=7, realised_return=-1e-5,
        score=0.1, p_up=None, forecast_value=0.2, policy_value=None, sentiment_value=None, hit=None,
    )  # fmt: skip
    refused = [
        Rejection(reason=Reason.BAD_JSON, payload=payload, ts_init=1, offset=9, symbol=symbol)
        for payload in (b"{", b"\xff\xfe", b"a\0b", b"")
        for symbol in (None, "A")
    ]
    bodies = [
        headline(),
        Mood(source="a", value=1.5, available_at=2),
        Control(kind="stop", actor="a", reason="b", ts_event=1),
    ]
    return [signal(), portfolio, outcome, *refused, *map(notice, bodies), alert(), *samples()]


ROWS = [pair for message in messages() for pair in rows_of(message, simulated=True)]
ROWS += [
    ("feeds", ("binance", 5, "up", "", '{"a":1}', '{"b_ns":0.5}')),
    ("runs", ("r", "i", 1, None, "demo", "{}", "[]", None, 1.5, None)),
]


@pytest.mark.parametrize(("table", "row"), ROWS, ids=[table for table, _ in ROWS])
def test_each_row_comes_back_as_it_was(table, row):
    found, back = row_of(entry_of(outgoing_of(table, row)))

    assert found == table
    # An enumeration's member comes back as the text that it is.
    plain = [str(value) if isinstance(value, str) else value for value in row]
    assert [repr(value) for value in back] == [repr(value) for value in plain]


@pytest.mark.parametrize(("table", "row"), ROWS, ids=[table for table, _ in ROWS])
def test_each_row_is_as_its_schema_says(table, row):
    validator = Draft202012Validator(schemas.load(table))
    found = json.loads(outgoing_of(table, row).value)

    validator.check_schema(schemas.load(table))
    validator.validate(found)
    for name in schemas.load(table)["required"]:
        assert not validator.is_valid({key: found[key] for key in found if key != name})


def test_every_record_type_has_been_tried():
    assert {table for table, _ in ROWS} == set(schemas.RECORDS)


def test_every_text_that_is_json_is_known_as_such():
    for table, row in ROWS:
        for name, value in zip(TABLES[table].names, row, strict=True):
            if isinstance(value, str) and value[:1] in {"{", "["} and table != "runs":
                is_payload = (table, name) == ("rejections", "payload")
                assert is_payload or name in records.JSON_COLUMNS[table], (table, name)


def test_json_is_embedded_and_not_quoted():
    [(table, row)] = rows_of(signal())
    assert json.loads(outgoing_of(table, row).value)["detail"]["z"] == [1.0, None, None]


def test_entries_go_to_the_topic_of_their_table_under_their_symbol():
    sent = {table: outgoing_of(table, row) for table, row in ROWS}

    assert {each.topic for each in sent.values()} == {topic.name for topic in OUTPUTS}
    assert sent["signals"].key == b"BTCUSDT"
    assert sent["portfolio"].key == b"portfolio"
    assert sent["notices"].key == b"0"
    assert all(each.key for each in sent.values())


@pytest.mark.parametrize(
    "change",
    [
        {"type": "tables"},
        {"version": "9"},
        {"value": None},
        {"value": b"{"},
        {"value": b'{"key":"a","name":"b","count":"3"}'},
        {"value": b'{"key":"a","name":"b"}'},
        {"value": b"\xff"},
    ],
)
def test_what_holds_no_row_is_refused_and_kept(change):
    good = entry_of(outgoing_of("tallies", ("a", "b", 3)), offset=4)
    bad = msgspec.structs.replace(good, **change)

    with pytest.raises(RecordError):
        row_of(bad)
    table, row = refused_row(bad)
    assert table == "rejections"
    assert row[:2] == (4, "bad_type")
