"""The log beside a store: short, in JSON, and never in the way."""

import json

import pytest

from connectors.sinks.log import SHOWN, Log, LogSink
from operators.errors import StoreError
from operators.messages import Gap, Reason, Rejection


def rejection(offset, payload=b"{"):
    return Rejection(reason=Reason.BAD_JSON, payload=payload, ts_init=1, offset=offset)


def logged(path, messages):
    part = LogSink(path).build_part("log", "0", None)
    part.write_batch(messages)
    part.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_first_rejections_are_logged_and_the_rest_are_counted(tmp_path):
    lines = logged(tmp_path / "run.log", [rejection(offset) for offset in range(SHOWN + 5)])
    assert [line["offset"] for line in lines[:-1]] == list(range(SHOWN))
    assert lines[-1]["event"] == "rejected_in_all"
    assert lines[-1]["bad_json"] == SHOWN + 5


def test_gap_is_logged_with_its_ids(tmp_path):
    gap = Gap(symbol="A", venue="binance", first_id=3, last_id=5, ts_from=0, ts_to=1)
    (line,) = logged(tmp_path / "run.log", [gap, "another message"])
    assert (line["event"], line["level"], line["first_id"], line["last_id"]) == (
        "gap",
        "warning",
        3,
        5,
    )


def test_binary_payload_makes_a_line_of_json_all_the_same(tmp_path):
    lines = logged(tmp_path / "run.log", [rejection(1, b"\xff\x00\n\x1b[31m")])
    assert len(lines) == 2


def test_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(StoreError, match="cannot be written"):
        Log(tmp_path)
