"""Rows as points: every number as it was, nothing that a server would read otherwise."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sinks.influxdb_points import MEASUREMENTS, line_of
from connectors.sinks.sqlite import rows_of
from connectors.sinks.tables import TABLES
from connectors.sinks.writers import RowRefused
from operators.messages import SECOND, BarQuality
from tests.stores import TS, outcome, portfolio, signal, stored_bar

DOCUMENT = Path(__file__).parents[2] / "connectors/sinks/INFLUXDB.md"


def line(message, **options):
    ((table, row),) = rows_of(message, **options)
    return line_of(table, row, "demo")


def parsed(text):
    """Read a line back: measurement, tags, fields, time."""
    head, fields, time = re.split(r"(?<!\\) ", text)
    name, *tags = re.split(r"(?<!\\),", head)
    pairs = (re.split(r"(?<!\\)=", tag) for tag in tags)
    plain = {key: re.sub(r"\\(.)", r"\1", value) for key, value in pairs}
    numbers = dict(field.split("=") for field in fields.split(","))
    return name, plain, {key: float(value) for key, value in numbers.items()}, int(time)


def with_value(table, message, column, value):
    ((_, row),) = rows_of(message)
    at = TABLES[table].names.index(column)
    return (*row[:at], value, *row[at + 1 :])


def test_signal_has_its_scores_and_the_legs_views():
    name, tags, fields, time = parsed(line(signal("BTCUSDT")))

    assert name == "signal"
    assert tags == {"interval": "1s", "profile": "demo", "simulated": "0", "symbol": "BTCUSDT"}
    assert time == TS
    assert fields == {
        "score": 0.1 + 0.2,
        "confidence": 0.5,
        "target_position": 0.1,
        "approved": 1.0,
        "price": 60_000.0,
        "action": 1.0,
        "forecast_value": 0.5,
        "forecast_confidence": 0.3,
        "forecast_weight": 0.6,
        "policy_value": 1.0,
        "policy_confidence": 0.2,
        "policy_weight": 0.4,
        "sentiment_value": 0.0,
        "sentiment_confidence": 0.0,
        "sentiment_weight": 0.0,
    }


def test_absent_numbers_have_no_field():
    _, _, fields, _ = parsed(line(portfolio(var_95=None, var_99=0.5)))

    assert "var_95" not in fields
    assert fields["var_99"] == 0.5


def test_numbers_that_are_not_finite_have_no_field():
    row = with_value("signals", signal(), "score", math.inf)

    assert "score" not in parsed(line_of("signals", row, "demo"))[2]


def test_bar_says_whether_its_feed_was_cut():
    assert parsed(line(stored_bar(quality=BarQuality.GAP)))[2]["gap"] == 1.0
    assert parsed(line(stored_bar()))[2]["gap"] == 0.0


def test_outcome_is_told_apart_by_its_horizon():
    assert parsed(line(outcome(signal(), horizon_ns=300 * SECOND)))[1]["horizon"] == "5m"


def test_simulated_markets_are_marked():
    assert parsed(line(signal(), simulated=True))[1]["simulated"] == "1"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_reads_back_as_it_was(value):
    read = parsed(line(signal(score=value)))[2]["score"]

    assert (read, math.copysign(1, read)) == (value, math.copysign(1, value))


@given(
    st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="\\"), min_size=1)
)
def test_every_symbol_reads_back_as_it_was(symbol):
    assert parsed(line(signal(symbol)))[1]["symbol"] == symbol


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("symbol", ""),
        ("symbol", "BTC\nUSDT"),
        ("symbol", "BTC\\"),
        ("symbol", None),
        ("score", "high"),
        ("action", "PANIC"),
        ("ts_close", -1),
        ("ts_close", 2**63),
        ("ts_close", None),
        ("interval", None),
        ("simulated", None),
        ("price", 10**400),
        ("detail", "{"),
        ("detail", "{}"),
        ("detail", '{"legs": {"a\\nb": {"value": 1}}}'),
        ("detail", '{"legs": {"forecast": {"value": "high"}}}'),
    ],
)
def test_value_that_is_no_point_is_refused(column, value):
    with pytest.raises(RowRefused, match="a row of signals is no point for InfluxDB"):
        line_of("signals", with_value("signals", signal(), column, value), "demo")


def test_row_of_another_layout_is_refused():
    ((table, row),) = rows_of(signal())

    with pytest.raises(RowRefused):
        line_of(table, row[:-1], "demo")


def test_other_tables_are_of_no_measurement():
    for table in TABLES.keys() - MEASUREMENTS.keys():
        assert line_of(table, (), "demo") is None


def test_document_names_every_measurement_and_field():
    text = DOCUMENT.read_text()
    named = set(re.findall(r"`(\w+)`", text))

    for message in (signal(), stored_bar(), portfolio(), outcome(signal())):
        name, tags, fields, _ = parsed(line(message))
        legs = {field for field in fields if field.startswith(("forecast_", "policy_", "sent"))}
        of_legs = legs if name == "signal" else set()  # documented once, as LEG_value ...
        assert {name, *tags, *(fields.keys() - of_legs)} <= named
