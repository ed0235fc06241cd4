"""The log beside a store: short, in JSON, and never in the way."""

import json

import pytest

from connectors.sinks.log import SHOWN, Log, LogSink
from operators.errors import StoreError
from operators.messages import SECOND, Gap, HoleState, Reason, Rejection
from tests.stores import TS, gap, hole, switch


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


def events(lines):
    return [(line["event"], line["level"]) for line in lines]


def test_gap_is_told_when_found_and_when_full_however_often_it_is_reported(tmp_path):
    lines = logged(tmp_path / "run.log", [gap(3, 12, filled=n) for n in range(11)])
    assert events(lines) == [("gap", "warning"), ("gap_filled", "info")]
    assert lines[1]["filled"] == 10


def test_connection_cut_for_fifty_symbols_is_one_line(tmp_path):
    names = [f"S{n:02}USDT" for n in range(50)]
    batches = [[hole(name)] for name in names]
    part = LogSink(tmp_path / "run.log").build_part("log", "0", None)
    for batch in batches:
        part.write_batch(batch)
    part.snapshot()
    part.close()

    lines = [json.loads(line) for line in (tmp_path / "run.log").read_text().splitlines()]
    assert events(lines) == [("hole_opened", "warning")]
    (line,) = lines
    assert (line["feed"], line["cause"], line["count"]) == ("binance", "cut", 50)
    assert line["symbols"] == names[:5]
    assert line["at"] == TS + SECOND


def test_life_of_a_hole_is_told_once_for_each_state_worth_telling(tmp_path):
    told = [
        hole(),
        hole(),
        hole(state=HoleState.ENDED, trades=1),
        hole(state=HoleState.ENDED, trades=2),
        hole(state=HoleState.FILLED, trades=2),
        hole(state=HoleState.FILLED, trades=2),
        hole("ETHUSDT", feed="yahoo", cause="silent", state=HoleState.UNFILLED, note="no history"),
        hole("ETHUSDT", state=HoleState.COVERED),
    ]
    lines = logged(tmp_path / "run.log", told)
    assert events(lines) == [
        ("hole_opened", "warning"),
        ("hole_filled", "info"),
        ("hole_unfilled", "warning"),
        ("hole_covered", "info"),
    ]
    assert (lines[1]["trades"], lines[1]["longest_seconds"]) == (2, 5.0)
    assert lines[2]["note"] == "no history"


def test_holes_of_other_feeds_causes_or_seconds_are_other_lines(tmp_path):
    told = [
        hole("A"),
        hole("B", feed="yahoo"),
        hole("C", cause="silent"),
        hole("D", found_at=TS + 2 * SECOND),
    ]
    assert len(logged(tmp_path / "run.log", told)) == 4


def test_switches_are_told_by_cause_and_the_start_is_none(tmp_path):
    told = [
        switch(before="binance", after="binance", cause="start"),
        switch("A"),
        switch("B"),
        switch("A", before="yahoo", after="binance", cause="well again", ts_event=TS + 9 * SECOND),
    ]
    lines = logged(tmp_path / "run.log", told)
    assert events(lines) == [("switched", "warning"), ("switched", "info")]
    assert (lines[0]["before"], lines[0]["after"], lines[0]["count"]) == ("binance", "yahoo", 2)


def test_outages_are_written_before_recovery_takes_them_for_done(tmp_path):
    part = LogSink(tmp_path / "run.log").build_part("log", "0", None)
    part.write_batch([hole()])
    assert (tmp_path / "run.log").read_text() == ""
    part.snapshot()
    assert "hole_opened" in (tmp_path / "run.log").read_text()
    part.close()


def test_many_seconds_of_outages_do_not_wait_for_the_snapshot(tmp_path):
    part = LogSink(tmp_path / "run.log").build_part("log", "0", None)
    part.write_batch([hole(ts_from=TS + n, found_at=TS + n * SECOND) for n in range(150)])
    assert len((tmp_path / "run.log").read_text().splitlines()) == 150
    part.close()


def test_every_line_of_a_simulated_run_says_so(tmp_path):
    part = LogSink(tmp_path / "run.log", simulated=True).build_part("log", "0", None)
    part.write_batch([rejection(1), hole(), gap(1, 2)])
    part.close()
    lines = [json.loads(line) for line in (tmp_path / "run.log").read_text().splitlines()]
    assert len(lines) == 4
    assert all(line["simulated"] is True for line in lines)


def test_binary_payload_makes_a_line_of_json_all_the_same(tmp_path):
    lines = logged(tmp_path / "run.log", [rejection(1, b"\xff\x00\n\x1b[31m")])
    assert len(lines) == 2


def test_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(StoreError, match="cannot be written"):
        Log(tmp_path)
