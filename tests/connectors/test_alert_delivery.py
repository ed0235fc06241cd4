"""Alerts reach people, over real sockets: once, again when they must, and never in a flood."""

import sqlite3
import time
from contextlib import closing, contextmanager
from threading import Event, Thread

import pytest

from connectors.alerts.channel import AppriseChannel, ChannelError
from connectors.alerts.delivery import deliver
from connectors.alerts.records import (
    acknowledge,
    active_alerts,
    end_silence,
    read_deliveries,
    silence,
    silences,
)
from connectors.alerts.settings import DeliverySettings, Routes, Target
from connectors.secrets import Secret, redact
from connectors.sinks.store import open_store
from operators.errors import InputError, SettingsError
from operators.messages import SECOND
from tests.mailboxes import Mail, Webhook, until
from tests.stores import TS, alert, store_messages

ALL = ("critical", "warning", "info")


def settings(*targets, **changed):
    routes = Routes(**dict.fromkeys(ALL, targets))
    quick = {"group_seconds": 0.3, "critical_seconds": 0.05, "most_rest_seconds": 1.0}
    return DeliverySettings(
        targets={name: Target(name.upper()) for name in targets},
        routes=changed.pop("routes", routes),
        **quick | changed,
    )


@contextmanager
def delivering(store, asked, **urls):
    """Run the worker beside the test."""
    channels = {name: AppriseChannel(name, Secret(url)) for name, url in urls.items()}
    stop = Event()
    thread = Thread(target=deliver, args=(store, asked, channels, stop), kwargs={"run": "demo"})
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def rows(store, query, *values):
    with closing(open_store(store, readonly=True)) as opened:
        return [dict(row) for row in opened.execute(query, values)]


def deliveries(store):
    with closing(open_store(store, readonly=True)) as opened:
        return read_deliveries(opened)


@pytest.fixture
def store(tmp_path):
    return store_messages(tmp_path / "run.sqlite")


def test_an_alert_comes_by_mail_and_by_webhook_and_both_are_recorded(store):
    with Mail() as mail, Webhook() as hook:
        with delivering(store, settings("mail", "hook"), mail=mail.url(), hook=hook.url()):
            store_messages(store, alert(summary="BTCUSDT: no data for 15 s"))
            until(lambda: all(each["state"] == "delivered" for each in deliveries(store)) and len(
                deliveries(store)) == 2)  # fmt: skip
        (letter,) = mail.letters
    (body,), (title,) = hook.bodies, hook.titles
    made = {each["target"]: each for each in deliveries(store)}

    assert "Subject: [critical] demo: data_cut (1)" in letter
    assert "BTCUSDT: no data for 15 s" in letter
    assert title == "[critical] demo: data_cut (1)"
    assert body.splitlines()[0] == (
        "2024-08-09 00:00:00Z critical data_cut: BTCUSDT: no data for 15 s"
    )
    assert body.splitlines()[-1] == f"id {made['hook']['delivery_id']}"
    assert {each["attempts"] for each in made.values()} == {1}
    assert {each["error"] for each in made.values()} == {""}


def test_each_severity_goes_where_its_route_leads(store):
    routes = Routes(critical=("loud", "quiet"), warning=("quiet",))
    with Webhook() as loud, Webhook() as quiet:
        asked = settings("loud", "quiet", routes=routes)
        with delivering(store, asked, loud=loud.url(), quiet=quiet.url()):
            store_messages(
                store, *(alert(severity, severity=severity, subject="A") for severity in ALL)
            )
            until(lambda: len(quiet.taken) == 2 and len(loud.taken) == 1)
            until(lambda: all(each["state"] == "delivered" for each in deliveries(store)))
    routed = rows(store, "SELECT target, event_id FROM routed_alerts")
    assert sorted(each["target"] for each in routed) == ["loud", "quiet", "quiet"]
    assert loud.titles == ["[critical] demo: critical (1)"]
    assert sorted(quiet.titles) == ["[critical] demo: critical (1)", "[warning] demo: warning (1)"]


def test_the_end_of_an_alert_is_told_with_how_long_it_was(store):
    with Webhook() as hook, delivering(store, settings("hook"), hook=hook.url()):
        store_messages(store, alert())
        until(lambda: len(hook.taken) == 1)
        store_messages(store, alert(state="resolved", ts_event=TS + 40 * SECOND, since=TS))
        until(lambda: len(hook.taken) == 2)
    assert hook.titles[1] == "[resolved] demo: data_cut (1)"
    assert "resolved after 40 s: " in hook.bodies[1]


def test_an_endpoint_that_is_down_is_tried_again_reported_to_others_and_recovers(store):
    with Webhook() as sick, Webhook() as well:
        sick.answer = 500
        asked = settings("sick", "well", report_after=2)
        urls = {"sick": sick.url("token-c4n4ry"), "well": well.url()}
        with delivering(store, asked, **urls):
            store_messages(store, alert())
            until(lambda: any("delivery" in title for title in well.titles))
            (waiting,) = [e for e in deliveries(store) if e["target"] == "sick"]
            (report,) = rows(store, "SELECT * FROM process_alerts")
            sick.answer = 200
            until(lambda: any("[resolved]" in title for title in well.titles))
    made = {each["target"]: each for each in deliveries(store) if "data_cut" in each["title"]}

    assert waiting["attempts"] >= 2
    assert "500" in waiting["error"]
    assert (report["rule"], report["subject"], report["severity"]) == (
        "delivery", "sick", "warning",
    )  # fmt: skip
    assert made["sick"]["state"] == "delivered"
    assert made["sick"]["attempts"] == sick.asked > 2
    assert len(sick.taken) == 1  # and its own being down is not told to itself
    assert "c4n4ry" not in str(rows(store, "SELECT * FROM deliveries")) + str(report)


def test_a_server_that_is_not_there_is_told_without_its_url():
    channel = AppriseChannel("hook", Secret("json://user:s3cr3t-c4n4ry@127.0.0.1:9/t0k3n-c4n4ry"))
    with pytest.raises(ChannelError) as error:
        channel.send("a", "b")
    assert str(error.value)
    assert "c4n4ry" not in str(error.value)


def test_a_message_that_is_refused_for_too_long_is_given_up(store):
    with Webhook() as hook:
        hook.answer = 400
        with delivering(store, settings("hook", give_up_seconds=0.5), hook=hook.url()):
            store_messages(store, alert())
            until(lambda: [each["state"] for each in deliveries(store)] == ["failed"])
            hook.answer = 200
            store_messages(store, alert(subject="ETHUSDT"))
            until(lambda: len(hook.taken) == 1)  # the next one goes out all the same
    assert "ETHUSDT" in hook.bodies[0]


def test_a_target_that_hangs_holds_up_no_other(store):
    with Webhook() as slow, Webhook() as quick:
        slow.delay = 3.0
        with delivering(store, settings("slow", "quick"), slow=slow.url(), quick=quick.url()):
            store_messages(store, alert())
            until(lambda: len(quick.taken) == 1, 2.5)
            assert not slow.taken


def test_warnings_that_are_stuck_do_not_hold_up_what_is_critical(store):
    with Webhook() as hook:
        hook.answer = 500
        with delivering(store, settings("hook", most_rest_seconds=30.0), hook=hook.url()):
            store_messages(store, alert("drawdown", "portfolio", "warning"))
            until(lambda: hook.asked >= 3)  # the next attempt is seconds away
            hook.answer = 200
            store_messages(store, alert())
            until(lambda: hook.titles[:1] == ["[critical] demo: data_cut (1)"])


def test_a_storm_of_10_000_is_a_few_messages_and_names_everything_critical(store):
    def storm():
        yield from (
            alert(f"rule{n % 10}", f"S{n}", "info" if n % 3 else "warning", ts_event=TS + n)
            for n in range(9_900)
        )
        yield from (alert("data_cut", f"C{n}", ts_event=TS + n) for n in range(100))

    asked = settings("hook", group_seconds=0.5)
    with Webhook() as hook:
        began = time.monotonic()
        with delivering(store, asked, hook=hook.url()):
            messages = list(storm())
            for start in range(0, len(messages), 500):
                store_messages(store, *messages[start : start + 500])
            until(lambda: rows(store, "SELECT count(*) AS n FROM routed_alerts")[0]["n"] == 10_000)
            until(lambda: all(e["state"] == "delivered" for e in deliveries(store)))
            took = time.monotonic() - began
    told = "\n".join(hook.bodies)

    assert all(f"data_cut: C{n}: data_cut" in told for n in range(100))
    critical = [title for title in hook.titles if "[critical]" in title]
    assert 4 <= len(critical) <= 4 + 20  # 25 to a message, and what each batch brought
    assert len(hook.titles) - len(critical) <= took / 0.5 + 1
    assert sum(each["alerts"] for each in deliveries(store)) == 10_000
    assert all(len(body.splitlines()) <= 28 for body in hook.bodies)
    assert "more before these" in told


def test_what_waits_while_a_target_is_down_comes_as_one_message(store):
    with Webhook() as hook:
        hook.answer = 500
        with delivering(store, settings("hook"), hook=hook.url()):
            for number in range(20):
                store_messages(
                    store, alert("signal", f"S{number}", "info", "event", TS + number * SECOND)
                )
                time.sleep(0.05)
            until(lambda: hook.asked >= 2)
            hook.answer = 200
            # Its own being down, which it may be told of by then, is not for it.
            routed = "SELECT count(*) AS n FROM routed_alerts WHERE outcome <> 'own'"
            until(lambda: rows(store, routed)[0]["n"] == 20)
            until(lambda: all(e["state"] == "delivered" for e in deliveries(store)))
    assert len(hook.taken) <= 4
    assert all(f"signal: S{number}:" in "\n".join(hook.bodies) for number in range(20))


def test_old_news_is_not_told_and_old_critical_ones_are(store):
    store_messages(
        store,
        alert("accuracy_drop", "models", "warning"),
        alert("data_cut", "OLD"),
        alert("drawdown", "portfolio", "warning", ts_event=TS + 7200 * SECOND),
    )
    with Webhook() as hook, delivering(store, settings("hook"), hook=hook.url()):
        until(lambda: len(hook.taken) == 2)
    assert "accuracy_drop" not in "".join(hook.bodies)
    outcomes = {
        each["outcome"] for each in rows(store, "SELECT * FROM routed_alerts") if
        len(each["outcome"]) < 16
    }  # fmt: skip
    assert outcomes == {"old"}


def now():
    return time.time_ns()


def test_a_silence_is_honoured_and_what_fires_still_is_told_afterwards(store):
    with closing(open_store(store)) as opened, Webhook() as hook:
        made = silence(
            opened, subject="BTC*", until=now() + 3600 * SECOND, actor="ann", reason="known",
            now=now(),
        )  # fmt: skip
        with delivering(store, settings("hook"), hook=hook.url()):
            store_messages(store, alert(), alert(subject="ETHUSDT"))
            until(lambda: len(hook.taken) == 1)
            # Nobody heard of its begin, so nobody wants to hear of its end.
            over = alert(state="resolved", ts_event=TS + SECOND, since=TS)
            again = alert(ts_event=TS + 2 * SECOND)
            store_messages(store, over)
            until(lambda: rows(store, "SELECT count(*) AS n FROM routed_alerts")[0]["n"] == 3)
            end_silence(opened, made.silence_id, now=now())
            store_messages(store, again)
            until(lambda: len(hook.taken) == 2)
        assert silences(opened, now=now()) == []
        with pytest.raises(InputError, match="no silence"):
            end_silence(opened, made.silence_id, now=now())
    assert "BTCUSDT" not in hook.bodies[0]
    assert "BTCUSDT" in hook.bodies[1]


def test_what_is_acknowledged_is_not_repeated_and_its_end_is_told(store):
    with closing(open_store(store)) as opened, Webhook() as hook:
        first = alert()
        with delivering(store, settings("hook"), hook=hook.url()):
            store_messages(store, first)
            until(lambda: len(hook.taken) == 1)
            acknowledge(opened, first.fingerprint, actor="ann", at=now())
            (seen,) = active_alerts(opened)
            assert seen["acknowledged_by"] == "ann"
            store_messages(store, alert(ts_event=TS + 3600 * SECOND, since=TS))
            until(lambda: rows(store, "SELECT count(*) AS n FROM routed_alerts")[0]["n"] == 2)
            store_messages(store, alert(state="resolved", ts_event=TS + 3700 * SECOND, since=TS))
            until(lambda: len(hook.taken) == 2)
            # When it fires anew it is told anew.
            store_messages(store, alert(ts_event=TS + 3800 * SECOND))
            until(lambda: len(hook.taken) == 3)
    assert "[resolved]" in hook.titles[1]


def test_nothing_is_silenced_or_acknowledged_in_nobodys_name(store):
    with closing(open_store(store)) as opened:
        with pytest.raises(InputError, match="who asks for it, and why"):
            silence(opened, until=now() + SECOND, actor=" ", reason="x", now=now())
        with pytest.raises(InputError, match="ends later than now"):
            silence(opened, until=5, actor="ann", reason="x", now=now())
        with pytest.raises(InputError, match="who gives it"):
            acknowledge(opened, "x", actor="", at=now())
        with pytest.raises(InputError, match="no alert x fires"):
            acknowledge(opened, "x", actor="ann", at=now())


def test_active_alerts_are_those_whose_last_word_is_firing(store):
    store_messages(
        store,
        alert(),
        alert(subject="ETHUSDT"),
        alert(subject="ETHUSDT", state="resolved", ts_event=TS + SECOND, since=TS),
        alert("signal", "BTCUSDT", "info", "event"),
    )
    with closing(open_store(store, readonly=True)) as opened:
        assert [row["subject"] for row in active_alerts(opened)] == ["BTCUSDT"]


def test_a_url_that_names_nothing_is_refused_without_showing_it():
    with pytest.raises(SettingsError) as error:
        AppriseChannel("phone", Secret("nonsense://s3cr3t-c4n4ry"))
    assert "'phone'" in str(error.value)
    assert "c4n4ry" not in str(error.value)


def test_routes_to_nowhere_are_refused():
    with pytest.raises(ValueError, match="names phone, not in "):
        DeliverySettings(routes=Routes(critical=("phone",)))


def test_a_store_that_is_locked_for_a_while_delays_and_loses_nothing(store):
    with Webhook() as hook, delivering(store, settings("hook"), hook=hook.url()):
        with closing(sqlite3.connect(store, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(0.5)
            other.execute("COMMIT")
        store_messages(store, alert())
        until(lambda: len(hook.taken) == 1)


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        (
            "tgram://123456789:AAabcDEFghiJKLmnoPQRstuVWXyz1234567/-100200300/",
            ["123456789", "AAabcDEFghiJKLmnoPQRstuVWXyz1234567"],
        ),
        ("discord://4017294401/C4n4ryOfMixedCase", ["4017294401", "C4n4ryOfMixedCase"]),
        ("json://somebody:Pq7@127.0.0.1:9/", ["somebody", "Pq7"]),
    ],
)
def test_each_part_of_a_url_is_hidden_as_it_is_written(url, hidden):
    AppriseChannel("phone", Secret(url))
    for part in hidden:
        assert redact(f"refused: {part} is wrong") == "refused: *** is wrong"
