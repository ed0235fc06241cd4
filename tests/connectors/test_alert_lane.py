"""One lane, step by step, by clocks of the test's own: what goes out, when, and what does not."""

import sqlite3
from contextlib import closing

import pytest

from connectors.alerts.channel import ChannelError
from connectors.alerts.delivery import Lane
from connectors.alerts.records import end_silence, silence, write_process_alerts
from connectors.alerts.settings import DeliverySettings
from connectors.sinks.store import open_store, transaction
from operators.messages import SECOND
from tests.stores import TS, alert, store_messages

HOUR = 3600 * SECOND
YEARS = 60_000 * HOUR  # that our clock is ahead of the stream's


class Phone:
    """A target that keeps what it is told, or is down."""

    def __init__(self):
        self.bodies = []
        self.down = False

    def send(self, title, body):
        if self.down:
            raise ChannelError("no answer")
        self.bodies.append(f"{title}\n{body}")


class Bench:
    """A store with its run still writing, and a lane that is stepped by hand."""

    def __init__(self, path, *severities, group_seconds=0.0):
        self.path = store_messages(path)
        self.store = open_store(path)
        self.phone = Phone()
        self.at = 0.0
        self.asked = []
        self.store.set_trace_callback(self.asked.append)
        settings = DeliverySettings(group_seconds=group_seconds, critical_seconds=0.0)
        self.lane = Lane(
            "phone", frozenset(severities or ["critical"]), self.phone, settings,
            now=lambda: TS + YEARS + round(self.at * SECOND), clock=lambda: self.at,
        )  # fmt: skip

    def now(self):
        return self.lane.now()

    def say(self, *messages):
        store_messages(self.path, *messages)

    def rest(self, seconds=0.0):
        """Let time pass, and the lane do all that is due."""
        self.at += seconds
        while self.lane.step(self.store):
            pass

    def outcomes(self):
        rows = self.store.execute("SELECT * FROM routed_alerts").fetchall()
        return {row["event_id"]: row["outcome"] for row in rows}


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path / "run.sqlite")
    with closing(made.store):
        yield made


@pytest.fixture
def quiet(tmp_path):
    """A lane for what is not critical, which groups nothing."""
    made = Bench(tmp_path / "run.sqlite", "warning", "info")
    with closing(made.store):
        yield made


def outcome(bench, told):
    return bench.outcomes()[f"{told.fingerprint}:{told.ts_event}:{told.state}"]


REFUSE = (
    "CREATE TRIGGER full BEFORE UPDATE ON deliveries BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
)


def test_a_message_is_sent_once_while_the_store_cannot_be_told_so(bench):
    bench.say(alert())
    bench.store.execute(REFUSE)
    for _ in range(5):
        with pytest.raises(sqlite3.Error, match="disk is full"):
            bench.rest(10.0)
    bench.store.execute("DROP TRIGGER full")
    bench.rest(10.0)
    (row,) = bench.store.execute("SELECT state FROM deliveries").fetchall()

    assert len(bench.phone.bodies) == 1
    assert row["state"] == "delivered"


def test_a_target_that_is_down_has_its_rest_though_the_store_cannot_be_written(bench):
    bench.say(alert())
    bench.store.execute(REFUSE)
    bench.phone.down = True
    with pytest.raises(sqlite3.Error, match="disk is full"):
        bench.rest()
    bench.phone.down = False
    bench.rest()  # no time has passed
    assert bench.phone.bodies == []


def test_what_the_process_says_by_our_clock_makes_nothing_of_the_stream_old(quiet):
    write_process_alerts(
        quiet.store, [alert("delivery", "mail", "warning", ts_event=TS + YEARS - SECOND)]
    )
    quiet.say(alert("drawdown", "portfolio", "warning"))
    quiet.rest()
    assert "drawdown" in quiet.phone.bodies[0]


@pytest.mark.parametrize(
    ("rule", "subject", "behind"), [("delivery", "mail", YEARS), ("cpu", "process", 0)]
)
def test_old_news_of_the_process_is_not_told(quiet, rule, subject, behind):
    old = alert(rule, subject, "warning", ts_event=TS + behind - 2 * HOUR)
    late = alert("clock_to_decision", "process", "warning", ts_event=TS)
    write_process_alerts(quiet.store, [old, late])
    quiet.rest()
    assert outcome(quiet, old) == "old"
    assert len(quiet.phone.bodies) == 1


def hush(bench, seconds):
    return silence(
        bench.store, subject="BTC*", until=bench.now() + seconds * SECOND, actor="ann",
        reason="known", now=bench.now(),
    )  # fmt: skip


def test_what_fires_still_is_told_when_its_silence_is_over(bench):
    hush(bench, 100)
    bench.say(alert(), alert(ts_event=TS + SECOND, since=TS))
    bench.rest(99.0)
    assert bench.phone.bodies == []
    bench.rest(2.0)
    (body,) = bench.phone.bodies
    assert "BTCUSDT" in body
    bench.say(alert(state="resolved", ts_event=TS + 2 * SECOND, since=TS))
    bench.rest(2.0)
    assert "[resolved]" in bench.phone.bodies[1]


def test_what_another_silence_covers_still_is_not_told_when_the_first_ends(bench):
    first = hush(bench, 100)
    hush(bench, 200)
    bench.say(alert())
    bench.rest(1.0)
    end_silence(bench.store, first.silence_id, now=bench.now())
    bench.rest(1.0)
    assert bench.phone.bodies == []
    bench.rest(300.0)
    assert len(bench.phone.bodies) == 1


def test_what_is_over_before_its_silence_is_never_told(bench):
    hush(bench, 100)
    bench.say(alert())
    bench.rest(1.0)
    bench.say(alert(state="resolved", ts_event=TS + SECOND, since=TS))
    bench.rest(200.0)
    assert bench.phone.bodies == []


def test_the_end_of_what_was_too_old_to_be_told_is_not_told(quiet):
    begin = alert("accuracy_drop", "models", "warning")
    end = alert("accuracy_drop", "models", "warning", "resolved", TS + SECOND, since=TS)
    quiet.say(begin, end, alert("drawdown", "portfolio", "warning", ts_event=TS + 2 * HOUR))
    quiet.rest()
    assert (outcome(quiet, begin), outcome(quiet, end)) == ("old", "untold")
    assert "accuracy_drop" not in "".join(quiet.phone.bodies)


def test_nothing_is_searched_while_more_is_waited_for(tmp_path):
    bench = Bench(tmp_path / "run.sqlite", "warning", group_seconds=30.0)
    with closing(bench.store):
        bench.say(alert("drawdown", "portfolio", "warning"))
        bench.rest()
        bench.asked.clear()
        bench.rest(29.0)
        assert not [query for query in bench.asked if "all_alerts" in query]
        assert bench.phone.bodies == []
        bench.rest(2.0)
        assert len(bench.phone.bodies) == 1


def test_an_alert_is_seen_though_it_has_the_number_of_one_that_was_dropped(bench):
    bench.say(alert())
    bench.rest(1.0)
    with transaction(bench.store):
        bench.store.execute("DELETE FROM alerts")
    bench.say(alert(subject="ETHUSDT", ts_event=TS + 48 * HOUR))
    bench.rest(1.0)
    assert ["ETHUSDT" in body for body in bench.phone.bodies] == [False, True]
