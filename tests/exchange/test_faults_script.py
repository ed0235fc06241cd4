"""Scripts of faults are read or refused in a sentence; chaos is the same again from its seed."""

import pytest

from exchange.chaos import CHAOS, chaos
from exchange.connections import frame
from exchange.faults import Fault, FaultError, Kind, Target, fault_from_json, read_script
from exchange.message_faults import message_fault

TOML = """
[[fault]]
at = 60
kind = "gap"
seconds = 5
target = { symbols = ["BTCUSDT"], streams = ["*@trade"] }

[[fault]]
at = 2.5
kind = "cut"
"""


def test_scripts_are_read_in_order_of_time(tmp_path):
    path = tmp_path / "script.toml"
    path.write_text(TOML)

    cut, gap = read_script(path)

    assert cut == Fault(kind=Kind.CUT, at=2.5)
    assert gap.target == Target(symbols=("BTCUSDT",), streams=("*@trade",))
    assert (gap.kind, gap.at, gap.seconds) == (Kind.GAP, 60.0, 5.0)


def test_json_lines_say_the_same(tmp_path):
    toml, lines = tmp_path / "script.toml", tmp_path / "script.jsonl"
    toml.write_text(TOML)
    lines.write_text(
        '{"kind":"cut","at":2.5}\n\n'
        '{"kind":"gap","at":60,"seconds":5,'
        '"target":{"symbols":["BTCUSDT"],"streams":["*@trade"]}}\n'
    )

    assert read_script(lines) == read_script(toml)


@pytest.mark.parametrize(
    "text",
    [
        "[[fault]]\nkind='gas'",
        "[[fault]]\nkind='gap'\nat=-1",
        "[[fault]]\nkind='gap'\nwhen=1",
        "[[fault]]\nkind='gap'\ntarget={symbol='BTCUSDT'}",
        "[[fault]]\nkind='refuse'",
        "[[fault]]\nkind='rest_down'\nseconds=1\nmode='sulk'",
        "[[faults]]\nkind='gap'",
        "fault",
    ],
)
def test_scripts_that_are_wrong_are_refused(tmp_path, text):
    path = tmp_path / "script.toml"
    path.write_text(text)

    with pytest.raises(FaultError, match=r"fault script .*script\.toml: "):
        read_script(path)


def test_a_script_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FaultError, match="cannot be read"):
        read_script(tmp_path / "none.toml")
    with pytest.raises(FaultError, match="not a fault"):
        fault_from_json(b"\xff")


@pytest.mark.parametrize(
    ("target", "stream", "takes"),
    [
        ({}, "btcusdt@trade", True),
        ({"symbols": ("BTCUSDT",)}, "btcusdt@kline_1m", True),
        ({"symbols": ("BTCUSDT",)}, "ethusdt@trade", False),
        ({"symbols": ("7203.T",)}, "7203.T", True),
        ({"streams": ("*@trade",)}, "ethusdt@trade", True),
        ({"streams": ("*@trade",)}, "ethusdt@aggTrade", False),
        ({"streams": ("*@trade",), "symbols": ("BTCUSDT",)}, "ethusdt@trade", False),
    ],
)
def test_targets_take_streams(target, stream, takes):
    assert Target(**target).takes(stream) is takes


def messages(*streams):
    return [(n, 0, name, b'{"e":"trade","E":%d,"T":%d}' % (n, n)) for n, name in enumerate(streams)]


def applied(batches, connections=None, **fault):
    made = message_fault(Fault(**fault), connections)
    return [[row[0] for row in made.apply(1, batch)] for batch in batches], made


def test_gap_leaves_out_what_it_targets():
    got, made = applied(
        [messages("a@trade", "b@trade", "a@trade")],
        kind=Kind.GAP,
        seconds=1,
        target=Target(symbols=("A",)),
    )
    assert got == [[1]]
    assert made.struck == 2


def test_without_seconds_and_count_one_message_is_struck():
    got, made = applied([messages("a@t", "a@t"), messages("a@t")], kind=Kind.GAP)
    assert got == [[1], [0]]
    assert made.over


def test_count_is_over_all_batches():
    got, made = applied([messages("a@t"), messages("a@t", "a@t", "a@t")], kind=Kind.GAP, count=3)
    assert got == [[], [2]]
    assert made.over


def test_duplicates_follow_at_once():
    assert applied([messages("a@t", "b@t")], kind=Kind.DUPLICATE, seconds=1)[0] == [[0, 0, 1, 1]]


def test_reordered_are_neighbours_of_one_stream_also_over_batches():
    got, made = applied(
        [messages("a@t", "b@t", "a@t"), messages("b@t", "a@t")], kind=Kind.REORDER, seconds=1
    )
    assert got == [[2, 0], [0, 1]]
    assert [row[2] for row in made.release(1)] == ["a@t"]
    assert made.release(1) == []


def test_other_connections_are_left_alone():
    assert applied([messages("a@t")], frozenset({2}), kind=Kind.GAP, seconds=1)[0] == [[0]]


def test_skew_moves_event_and_trade_time_only():
    made = message_fault(Fault(kind=Kind.CLOCK_SKEW, seconds=1, shift_seconds=-1.5), None)
    trade = b'{"stream":"a@trade","data":{"e":"trade","E":5000,"t":7,"T":4000,"p":"4000"}}'
    kline = b'{"e":"kline","E":5000,"k":{"t":0,"T":999}}'
    got = [row[3] for row in made.apply(1, [(0, 0, "a@trade", trade), (0, 0, "a@kline_1s", kline)])]
    assert got == [
        b'{"stream":"a@trade","data":{"e":"trade","E":3500,"t":7,"T":2500,"p":"4000"}}',
        b'{"e":"kline","E":3500,"k":{"t":0,"T":999}}',
    ]


def test_chaos_is_the_same_from_the_same_seed_and_over_by_the_end():
    drawn = chaos(7, 600.0, ["BTCUSDT", "ETHUSDT"])

    assert drawn == chaos(7, 600.0, ["BTCUSDT", "ETHUSDT"])
    assert drawn != chaos(8, 600.0, ["BTCUSDT", "ETHUSDT"])
    assert {fault.kind for fault in drawn} == set(CHAOS)
    assert all(fault.at > 0 and fault.at + fault.seconds < 600.0 for fault in drawn)
    assert [fault.at for fault in drawn] == sorted(fault.at for fault in drawn)
    assert chaos(7, 600.0, [], [Kind.CUT])[0].kind is Kind.CUT
    with pytest.raises(FaultError):
        chaos(7, 600.0, [], [])


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_frames_carry_their_length(length):
    made = frame(b"x" * length)
    head = {0: 2, 125: 2, 126: 4, 65_535: 4, 65_536: 10}[length]

    assert made[0] == 0x81
    assert len(made) == head + length
    told = made[1] if head == 2 else int.from_bytes(made[2:head], "big")
    assert told == length
    assert not made[1] & 0x80
