"""What a person reads of a run with outages."""

from contextlib import closing
from io import StringIO

import pytest
from rich.console import Console

from connectors.feeds import FeedHealth
from connectors.sinks.health import write_feed_health
from connectors.sinks.store import open_store
from flows.reports import print_summary
from flows.summary import summarise
from operators.messages import SECOND, BarQuality, HoleState
from tests.stores import TS, gap, hole, repaired, store_messages, stored_bar, switch


def printed(path, width=80):
    with closing(open_store(path, readonly=True)) as store:
        summary = summarise(store)
    console = Console(width=width, record=True, file=StringIO())
    print_summary(summary, console)
    return console.export_text()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_outages_are_summed_up_in_words(tmp_path, width):
    path = store_messages(
        tmp_path / "run.sqlite",
        stored_bar(trades=2),
        repaired(stored_bar(trades=1_202, quality=BarQuality.BACKFILLED)),
        hole(state=HoleState.FILLED, trades=1_234),
        hole("ETHUSDT", state=HoleState.UNFILLED, cause="silent"),
        gap(1, 34, filled=31),
        switch(ts_event=TS + 9 * SECOND),
    )
    gauges = {"lag_seconds": 0.0421}
    feed = FeedHealth("binance", state="cut", note="[/x]refused\x1b")
    feed.counts.update(messages=12_345, reconnects=3)
    feed.gauges.update(gauges)
    write_feed_health(path, [feed], at=TS)
    text = printed(path, width)

    assert max(len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    flat = " ".join(text.split())
    for words in (
        "3 of 1,205 trades, 0.249%: within the budget of 1%",
        "1 filled, 1 unfilled (1 cut, 1 silent); 1,234 trades fetched",
        "binance 2.0 s; back after 2.0 s",
        "1 bars that had closed, with 1,200 trades more",
        "1 from one feed to another",
        "1 backfilled",
        "12,345",
        "0.042",
    ):
        assert words in flat


def test_budget_that_is_passed_is_said(tmp_path):
    path = store_messages(tmp_path / "run.sqlite", stored_bar(trades=8), gap(1, 2))
    assert "2 of 10 trades, 20.000%: over the budget of 1%" in " ".join(printed(path).split())


def test_run_without_outages_says_only_that_nothing_was_lost(tmp_path):
    text = printed(store_messages(tmp_path / "run.sqlite", stored_bar()))
    assert "0 of 2 trades, 0.000%: within the budget of 1%" in text
    for word in ("holes", "outages", "repaired", "switches", "feed", "simulated"):
        assert word not in text
