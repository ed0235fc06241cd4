"""Rows as points of InfluxDB's line protocol: numbers by symbol over time, and nothing else.

INFLUXDB.md lists what there is. Every field is a float, so that no field ever changes its type; a
number that is absent or not finite has no field. No tag grows with time: a signal's id would
make a series of its own for each signal.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import msgspec

from connectors.sinks.tables import TABLES
from connectors.sinks.writers import Row, RowRefused
from operators.messages import SECOND, BarQuality

_ACTIONS = {"BUY": 1.0, "HOLD": 0.0, "SELL": -1.0}
# The protocol has no way to write these in a tag that all servers read alike.
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\]")
_ESCAPED = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_LATEST = 2**63 - 2  # ns: the protocol's latest time

type _Given = Mapping[str, Any]  # a row by the names of its columns


class _Leg(msgspec.Struct):
    value: float | None = None
    confidence: float | None = None
    weight: float | None = None


class _Detail(msgspec.Struct):
    legs: dict[str, _Leg]


_detail = msgspec.json.Decoder(_Detail)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What becomes of one table's rows."""

    name: str
    tags: Callable[[_Given], Iterator[tuple[str, str]]]
    numbers: tuple[str, ...]  # columns that are fields as they are
    made: Callable[[_Given], Iterator[tuple[str, float | None]]]  # further fields


def _of_symbol(given: _Given) -> Iterator[tuple[str, str]]:
    yield "interval", _duration(given["interval"])
    yield "symbol", given["symbol"]


def _of_outcome(given: _Given) -> Iterator[tuple[str, str]]:
    yield "horizon", _duration(given["horizon_ns"])
    yield "symbol", given["symbol"]


def _of_signal(given: _Given) -> Iterator[tuple[str, float | None]]:
    yield "action", _ACTIONS[given["action"]]
    for name, leg in _detail.decode(given["detail"]).legs.items():
        yield f"{name}_value", leg.value
        yield f"{name}_confidence", leg.confidence
        yield f"{name}_weight", leg.weight


def _of_bar(given: _Given) -> Iterator[tuple[str, float | None]]:
    yield "gap", float(given["quality"] == BarQuality.GAP)


def _duration(ns: int) -> str:
    """Say an interval as profiles do.

    >>> _duration(60 * SECOND), _duration(90 * SECOND)
    ('1m', '90s')
    """
    seconds = ns // SECOND
    return f"{seconds}s" if seconds % 60 else f"{seconds // 60}m"


MEASUREMENTS: dict[str, Measurement] = {
    "signals": Measurement(
        "signal",
        _of_symbol,
        ("score", "confidence", "target_position", "approved", "price"),
        _of_signal,
    ),
    # As they closed, which is what was decided on. Their later forms would have to replace them,
    # and not every store that speaks this protocol lets the later of two points stand.
    "bars": Measurement(
        "bar",
        _of_symbol,
        (
            *("open", "high", "low", "close", "volume", "trades", "quotes"),
            *("vwap", "spread", "imbalance"),
        ),
        _of_bar,
    ),
    "portfolio": Measurement(
        "portfolio",
        lambda _: iter(()),
        (
            *("cash", "equity", "gross", "net", "drawdown", "var_95", "var_99"),
            *("costs", "trades", "buy_and_hold", "stopped"),
        ),
        lambda _: iter(()),
    ),
    "outcomes": Measurement(
        "outcome",
        _of_outcome,
        (
            *("realised_return", "score", "p_up"),
            *("forecast_value", "policy_value", "sentiment_value", "hit"),
        ),
        lambda _: iter(()),
    ),
}


def tag_value(text: str) -> str:
    """Return `text` as the protocol writes it as a tag or a name.

    Raises:
        ValueError: it is empty, or holds a backslash or a control character.
    """
    if not text or _UNFIT.search(text):
        raise ValueError(f"a tag cannot be {text!r}")
    return text.translate(_ESCAPED)


def line_of(table: str, row: Row, profile: str) -> str | None:
    r"""Return `row` as one line of the protocol; None if `table` is of no measurement.

    Also None for a row without a number. Repeated, it is the same line, byte by byte.

    >>> row = ("6e1f", "IBM", 5, 60 * SECOND, 0.25, -0.5, None, None, None, None, 1, 0)
    >>> print(*line_of("outcomes", row, "demo").split(), sep="\n")
    outcome,horizon=1m,profile=demo,simulated=0,symbol=IBM
    realised_return=0.25,score=-0.5,hit=1.0
    5

    Raises:
        RowRefused: a value in it fits no tag, no field or no time.
    """
    measurement = MEASUREMENTS.get(table)
    if measurement is None:
        return None
    try:
        given = dict(zip(TABLES[table].names, row, strict=True))
        fields = ",".join(_fields(measurement, given))
        if not fields:
            return None
        return f"{measurement.name},{_tags(measurement, given, profile)} {fields} {_time(given)}"
    except (KeyError, TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        why = f"{type(error).__name__}: {error}"
        raise RowRefused(f"a row of {table} is no point for InfluxDB ({why})") from error


def _tags(measurement: Measurement, given: _Given, profile: str) -> str:
    tags = dict(measurement.tags(given))
    tags["profile"] = profile
    tags["simulated"] = str(int(given["simulated"]))
    # In order of their names, which spares the server the sorting.
    return ",".join(f"{name}={tag_value(tags[name])}" for name in sorted(tags))


def _fields(measurement: Measurement, given: _Given) -> Iterator[str]:
    for name in measurement.numbers:
        yield from _field(name, given[name])
    for name, value in measurement.made(given):
        yield from _field(tag_value(name), value)


def _field(name: str, value: float | None) -> Iterator[str]:
    if value is not None and isfinite(number := float(value)):
        yield f"{name}={number!r}"  # the shortest text that reads back as the same number


def _time(given: _Given) -> int:
    time = given["ts_close"]
    if not isinstance(time, int) or not 0 <= time <= _LATEST:
        raise ValueError(f"a time cannot be {time!r}")
    return time
