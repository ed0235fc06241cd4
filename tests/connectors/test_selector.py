"""For each symbol one feed at a time goes into the log, and each change is told."""

import msgspec

from connectors.feeds import FeedHealth, Received
from connectors.selector import Selector, SelectorSettings
from operators.messages import SECOND, Hole, HoleState, Switch

START = 1_723_161_254 * SECOND
SETTINGS = SelectorSettings(silence_ns=10 * SECOND, lag_ns=5 * SECOND, steady_ns=15 * SECOND)


class Desk:
    """A selector over two feeds, with what it let through."""

    def __init__(self):
        self.health = {name: FeedHealth(name, state="up") for name in ("binance", "yahoo")}
        order = {"BTCUSDT": ("binance", "yahoo"), "ETHUSDT": ("binance",)}
        self.selector = Selector(order, self.health, SETTINGS)
        self.log = list(self.selector.begin(START))

    def at(self, seconds, feed, payload=b"{}", kind=None, symbol="BTCUSDT"):
        received = Received(START + int(seconds * SECOND), feed, kind or feed, payload, symbol)
        passed = list(self.selector.pass_on(received))
        self.log += passed
        return [(item.feed, item.kind) for item in passed]

    def hole(self, seconds, feed, state, ts_from, ts_to=None):
        hole = Hole(
            feed=feed,
            symbol="BTCUSDT",
            cause="cut",
            ts_from=START + int(ts_from * SECOND),
            ts_to=None if ts_to is None else START + int(ts_to * SECOND),
            state=state,
            found_at=START,
        )
        return self.at(seconds, feed, msgspec.json.encode(hole), "hole")

    def both(self, begin, end, *feeds):
        for tenth in range(begin * 10, end * 10, 5):
            for feed in feeds:
                self.at(tenth / 10, feed)

    def switches(self):
        found = [
            msgspec.json.decode(i.payload, type=Switch) for i in self.log if i.kind == "switch"
        ]
        return [(s.before, s.after, s.cause, (s.ts_event - START) / SECOND) for s in found[1:]]

    def holes(self):
        found = [msgspec.json.decode(i.payload, type=Hole) for i in self.log if i.kind == "hole"]
        return [
            (h.feed, str(h.state), None if h.ts_to is None else (h.ts_to - START) / SECOND)
            for h in found
        ]


def test_begin_tells_the_feed_that_is_used():
    [start] = Desk().log

    switch = msgspec.json.decode(start.payload, type=Switch)
    assert (switch.symbol, switch.after, switch.cause) == ("BTCUSDT", "binance", "start")


def test_only_the_wanted_feed_passes_while_both_are_well():
    desk = Desk()
    desk.both(0, 60, "binance", "yahoo")

    assert {item.feed for item in desk.log} == {"binance"}
    assert desk.selector.standby == 120
    assert desk.switches() == []


def test_silent_feed_is_left_for_the_next_and_returned_to_when_it_is_well_again():
    desk = Desk()
    desk.both(0, 20, "binance", "yahoo")
    desk.both(20, 50, "yahoo")
    desk.both(50, 90, "binance", "yahoo")

    [left, back] = desk.switches()
    assert left[:3] == ("binance", "yahoo", "silent")
    assert 29 < left[3] < 31
    assert back[:3] == ("yahoo", "binance", "well again")
    assert 65 <= back[3] < 66
    sources = [item.feed for item in desk.log if item.kind == item.feed]
    assert sources == sorted(sources[: sources.index("yahoo")]) + ["yahoo"] * sources.count(
        "yahoo"
    ) + ["binance"] * (len(sources) - sources.index("yahoo") - sources.count("yahoo"))


def test_lag_is_a_reason_of_its_own():
    desk = Desk()
    desk.both(0, 5, "binance", "yahoo")
    desk.health["binance"].gauges["lag_seconds"] = 6.0
    desk.both(5, 8, "binance", "yahoo")

    assert [switch[:3] for switch in desk.switches()] == [("binance", "yahoo", "lag")]


def test_no_other_feed_with_data_is_no_reason_to_leave():
    desk = Desk()
    desk.both(0, 5, "binance")
    for second in range(5, 60):
        desk.log += desk.selector.tick(START + second * SECOND)

    assert desk.switches() == []


def test_time_alone_finds_a_silent_feed():
    desk = Desk()
    desk.both(0, 5, "binance", "yahoo")
    desk.at(14, "yahoo")
    desk.log += desk.selector.tick(START + 16 * SECOND)

    assert [switch[:3] for switch in desk.switches()] == [("binance", "yahoo", "silent")]


def test_short_cut_is_backfilled_and_not_switched():
    desk = Desk()
    desk.both(0, 20, "binance", "yahoo")
    desk.hole(20.5, "binance", HoleState.OPEN, 20)
    desk.both(21, 23, "yahoo")
    desk.hole(23, "binance", HoleState.ENDED, 20, 23)
    assert desk.at(23.1, "binance", b"page", "binance_rest") == [("binance", "binance_rest")]
    desk.hole(23.2, "binance", HoleState.FILLED, 20, 23)
    desk.both(24, 60, "binance", "yahoo")

    assert desk.switches() == []
    assert desk.holes() == [
        ("binance", "open", None),
        ("binance", "ended", 23.0),
        ("binance", "filled", 23.0),
    ]


def test_hole_ends_where_another_feed_took_over():
    desk = Desk()
    desk.both(0, 20, "binance", "yahoo")
    desk.hole(20.5, "binance", HoleState.OPEN, 20)
    desk.both(21, 40, "yahoo")
    [(_, _, cause, at)] = desk.switches()
    assert cause == "cut"
    desk.hole(40, "binance", HoleState.ENDED, 20, 40)
    assert desk.at(40.1, "binance", b"page", "binance_rest") == [("binance", "binance_rest")]
    desk.hole(40.2, "binance", HoleState.FILLED, 20, 40)

    assert desk.holes() == [
        ("binance", "open", None),
        ("binance", "covered", at),
        ("binance", "ended", at),
        ("binance", "filled", at),
    ]


def test_hole_of_a_feed_that_stands_by_is_no_news():
    desk = Desk()
    desk.both(0, 5, "binance", "yahoo")

    assert desk.hole(5, "yahoo", HoleState.OPEN, 4) == []
    assert desk.hole(6, "yahoo", HoleState.UNFILLED, 4, 6) == []


def test_symbols_with_one_feed_and_news_pass_as_they_are():
    desk = Desk()

    assert desk.at(1, "binance", symbol="ETHUSDT") == [("binance", "binance")]
    assert desk.at(1, "rss", kind="headline", symbol=None) == [("rss", "headline")]


def test_clock_that_is_set_back_does_not_keep_a_silent_feed():
    desk = Desk()
    desk.both(1000, 1005, "binance", "yahoo")
    desk.both(0, 30, "yahoo")

    assert [switch[:3] for switch in desk.switches()] == [("binance", "yahoo", "silent")]


def test_each_of_several_holes_is_told_to_its_end():
    desk = Desk()
    desk.both(0, 5, "binance", "yahoo")
    desk.hole(5, "binance", HoleState.ENDED, 3, 4)
    desk.hole(6, "binance", HoleState.ENDED, 5, 6)
    desk.hole(7, "binance", HoleState.FILLED, 3, 4)
    desk.hole(8, "binance", HoleState.FILLED, 5, 6)

    assert [state for _, state, _ in desk.holes()] == ["ended", "ended", "filled", "filled"]
