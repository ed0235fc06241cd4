"""The gap ledger holds every hole once, and counts every missing trade once."""

import json
from contextlib import closing
from io import StringIO

import pytest
from rich.console import Console

from connectors.sinks.store import open_store
from flows.commands_gaps import SHOWN, gaps_view, print_gaps
from flows.ledger import ledger, lost_share, outages, totals
from operators.errors import InputError
from operators.messages import SECOND, HoleState, Tally
from tests.stores import TS, gap, hole, store_messages, stored_bar, switch


def opened(tmp_path, *messages):
    return closing(open_store(store_messages(tmp_path / "run.sqlite", *messages), readonly=True))


def test_ledger_holds_holes_and_gaps_by_time(tmp_path):
    with opened(
        tmp_path,
        gap(5, 9, filled=2, ts_from=TS + SECOND),
        hole("ETHUSDT", ts_from=TS + 3 * SECOND),
        hole(state=HoleState.UNFILLED, first_id=5, last_id=9, trades=2, note="history refused"),
    ) as store:
        told = [
            (each.kind, each.feed, each.symbol, each.cause, each.state, each.missing)
            for each in ledger(store)
        ]
        assert told == [
            ("hole", "binance", "BTCUSDT", "cut", HoleState.UNFILLED, 3),
            ("gap", "binance", "BTCUSDT", "ids", HoleState.UNFILLED, 3),
            ("hole", "binance", "ETHUSDT", "cut", HoleState.OPEN, None),
        ]
        assert [each.symbol for each in ledger(store, "ETHUSDT")] == ["ETHUSDT"]
        assert [each.note for each in ledger(store, state=HoleState.UNFILLED)] == [
            "history refused",
            "",
        ]


def test_share_is_of_trades_used_and_missing(tmp_path):
    with opened(
        tmp_path,
        stored_bar(trades=90),
        stored_bar("ETHUSDT", trades=890),
        Tally(key="ETHUSDT", name="open_trades", count=10),
        gap(1, 12, filled=2),
    ) as store:
        whole, by_symbol = lost_share(store)
    assert (whole.used, whole.missing, whole.lost, whole.within) == (990, 10, 0.01, True)
    assert by_symbol["BTCUSDT"].lost == 0.1
    assert not by_symbol["BTCUSDT"].within
    assert by_symbol["ETHUSDT"].lost == 0.0


def test_one_trade_over_the_budget_is_over_it(tmp_path):
    with opened(tmp_path, stored_bar(trades=98), gap(1, 1)) as store:
        assert not lost_share(store)[0].within


def test_hole_that_a_gap_proves_counts_once(tmp_path):
    lost = {"state": HoleState.UNFILLED, "first_id": 10, "last_id": 19}
    with opened(tmp_path, gap(10, 19), hole(**lost)) as store:
        assert lost_share(store)[0].missing == 10


@pytest.mark.parametrize(
    ("state", "missing"),
    [
        (HoleState.OPEN, 7),
        (HoleState.ENDED, 7),
        (HoleState.UNFILLED, 7),
        (HoleState.FILLED, 0),
        (HoleState.COVERED, 0),
    ],
)
def test_hole_that_no_later_id_proves_counts_until_it_is_filled(tmp_path, state, missing):
    ids = {"first_id": 10, "last_id": 19, "trades": 3}
    with opened(tmp_path, gap(10, 19, symbol="ETHUSDT"), hole(state=state, **ids)) as store:
        assert lost_share(store)[1]["BTCUSDT"].missing == missing


AWAY = switch(ts_event=TS + 12 * SECOND)
BACK = switch(before="yahoo", after="binance", cause="well again", ts_event=TS + 30 * SECOND)


@pytest.mark.parametrize(
    ("messages", "missing"),
    [
        ([AWAY, BACK], 0),
        ([BACK], 0),  # when it was left is past retention
        ([AWAY, BACK, hole(state=HoleState.FILLED)], 0),
        ([AWAY, BACK, hole(state=HoleState.UNFILLED)], 7),
        ([AWAY, BACK, hole(state=HoleState.ENDED)], 7),
        ([AWAY, BACK, hole("ETHUSDT", state=HoleState.UNFILLED)], 0),
        ([AWAY, BACK, hole(state=HoleState.UNFILLED, ts_from=TS - 9 * SECOND, ts_to=TS)], 0),
        ([], 7),
        ([switch("ETHUSDT", ts_event=TS + 12 * SECOND)], 7),
        ([switch(before="yahoo", after="yahoo", cause="start", ts_event=TS)], 7),
        ([switch(ts_event=TS + 31 * SECOND)], 7),  # it was left after the gap
    ],
)
def test_ids_of_a_feed_that_another_stood_in_for_are_not_lost(tmp_path, messages, missing):
    leap = gap(10, 19, filled=3, venue="binance/aggregate", ts_to=TS + 30 * SECOND)
    with opened(tmp_path, leap, *messages) as store:
        assert lost_share(store)[0].missing == missing
        (told,) = (each for each in ledger(store) if each.kind == "gap")
    assert told.state is (HoleState.UNFILLED if missing else HoleState.COVERED)
    assert ("another feed stood in" in told.note) is (missing == 0)


def test_outages_are_timed_by_feed_and_not_by_symbol(tmp_path):
    with opened(
        tmp_path,
        stored_bar(ts_close=TS + 30 * SECOND),
        *(hole(f"S{n}", state=HoleState.FILLED, trades=4) for n in range(50)),
        hole("S1", state=HoleState.FILLED, ts_from=TS + 10 * SECOND, ts_to=TS + 14 * SECOND,
             resolved_at=TS + 15 * SECOND),
        hole(feed="yahoo", cause="silent", ts_from=TS + 20 * SECOND),
    ) as store:  # fmt: skip
        made = outages(store)
    assert made["holes"] == {"filled": 51, "open": 1}
    assert made["causes"] == {"cut": 51, "silent": 1}
    assert made["fetched_trades"] == 200
    assert made["holes_without_ids"] == 1
    assert made["outage_seconds"] == {"binance": 6.0, "yahoo": 10.0}
    assert made["back_seconds"] == {"n": 51, "mean": 2.039, "max": 4.0}
    assert made["resolved_seconds"] == {"n": 51, "mean": 5.0, "max": 5.0}


def test_store_without_holes_has_lost_nothing(tmp_path):
    with opened(tmp_path) as store:
        made = totals(store)
        assert ledger(store) == []
    assert (made["used"], made["missing"], made["share"], made["within"]) == (0, 0, 0.0, True)
    assert made["back_seconds"] == {"n": 0, "mean": None, "max": None}


# --------------------------------------------------------------------------- the command


def test_gaps_as_json_is_one_object_of_entries_and_totals(tmp_path, capsys):
    path = store_messages(tmp_path / "run.sqlite", stored_bar(trades=9), gap(1, 1), hole("ETHUSDT"))
    print_gaps(path, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [each["symbol"] for each in told["entries"]] == ["BTCUSDT", "ETHUSDT"]
    assert (told["missing"], told["share"], told["budget"], told["within"]) == (1, 0.1, 0.01, False)
    assert told["symbols"]["BTCUSDT"] == {"used": 9, "missing": 1, "share": 0.1}

    print_gaps(path, symbol="ETHUSDT", state="OPEN", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [each["state"] for each in told["entries"]] == ["open"]
    assert told["missing"] == 1  # totals are of the whole store


def test_gaps_for_people_fit_into_eighty_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    evil = hole("\x1b[2JXBTUSDTPERP", feed="[/red]alpha_vantage", cause="down\x1b")
    filled = hole(state=HoleState.FILLED, trades=1234, first_id=1, last_id=1234)
    path = store_messages(tmp_path / "run.sqlite", stored_bar(), filled, evil, gap(1, 9))
    print_gaps(path)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    for words in ("1,234", "filled", "unfilled", "?", "over the budget of 1%", "back after 2.0 s"):
        assert words in text


def test_long_ledger_shows_its_end(tmp_path):
    with opened(
        tmp_path, *(hole(ts_from=TS + n * SECOND, cause=f"c{n}") for n in range(SHOWN + 7))
    ) as store:
        view = gaps_view(ledger(store), totals(store))
    console = Console(width=80, record=True, file=StringIO())
    console.print(view)
    text = console.export_text()
    assert "7 earlier ones" in text
    assert f"c{SHOWN + 6} " in text
    assert "c6 " not in text.partition("data lost")[0]


def test_unknown_state_is_one_sentence(tmp_path):
    path = store_messages(tmp_path / "run.sqlite")
    with pytest.raises(InputError, match="expected a state of open, ended, filled"):
        print_gaps(path, state="lost")
