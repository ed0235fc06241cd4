"""Alerts by the API, over a store as the flow and the delivery leave it."""

import time
from contextlib import closing

import pytest

from api import models
from connectors.alerts.records import read_alerts, write_process_alerts
from connectors.sinks.store import open_store, transaction
from connectors.sinks.tables import TABLES
from operators.alert_book import fingerprint_of
from operators.messages import SECOND
from tests.api.serving import served
from tests.api.test_push import sse
from tests.api.test_routes import get, pages
from tests.stores import TS, alert, store_messages

CUT = fingerprint_of("data_cut", "BTCUSDT")


@pytest.fixture
def told(tmp_path):
    """Return a store in which two fire, one is over, and one has merely happened."""
    path = store_messages(
        tmp_path / "run.sqlite",
        alert(ts_event=TS + 2 * SECOND),
        alert(subject="ETHUSDT", ts_event=TS),
        alert(subject="ETHUSDT", state="resolved", since=TS, ts_event=TS + 5 * SECOND),
        alert("signal", "ETHUSDT", "info", "event", TS + 3 * SECOND),
    )
    with closing(open_store(path)) as store:
        write_process_alerts(store, [alert("cpu", "process", "warning", ts_event=TS + 7 * SECOND)])
    return path


@pytest.fixture
def api(told, tmp_path):
    with served(told, tmp_path) as server:
        yield server


@pytest.fixture
def client(api):
    with api.client() as client:
        yield client


def names(alerts):
    return [(each["rule"], each["subject"], each["state"]) for each in alerts]


def test_what_fires_is_told_the_longest_first_with_its_source(client):
    found = get(client, "/alerts/firing")["alerts"]

    assert names(found) == [("data_cut", "BTCUSDT", "firing"), ("cpu", "process", "firing")]
    assert [each["source"] for each in found] == ["stream", "process"]
    assert found[0]["facts"] == {"seconds": 15.0}
    assert found[0]["acknowledged_by"] is None
    assert not any(each["silenced"] for each in found)


def test_all_that_was_told_is_paged_newest_first(client, told):
    found = list(pages(client, "/alerts", "alerts", limit=2))

    with closing(open_store(told, readonly=True)) as store:
        expected = read_alerts(store)
    assert names(found) == names(expected)
    assert len(found) == 5
    assert names(get(client, "/alerts", since=TS + 6 * SECOND)["alerts"]) == [
        ("cpu", "process", "firing")
    ]


def test_alerts_of_one_moment_are_each_told_once(tmp_path):
    moment = [alert(subject=f"S{number}") for number in range(7)]
    path = store_messages(tmp_path / "run.sqlite", *moment)
    with served(path, tmp_path) as api, api.client() as client:
        found = [each["subject"] for each in pages(client, "/alerts", "alerts", limit=3)]
    assert len(found) == 7
    assert set(found) == {f"S{number}" for number in range(7)}


def test_deliveries_are_paged_newest_first_with_their_error(told, client):
    rows = [
        (f"{number:016x}", "mail", "critical", TS + number // 2, "title", "body", 1, "pending",
         number, None, "refused")
        for number in range(5)
    ]  # fmt: skip
    with closing(open_store(told)) as store, transaction(store):
        store.executemany(TABLES["deliveries"].upsert, rows)

    found = list(pages(client, "/alerts/deliveries", "deliveries", limit=2))

    assert [each["attempts"] for each in found] == [4, 2, 3, 0, 1]
    assert {each["error"] for each in found} == {"refused"}


def test_silence_keeps_people_from_what_it_names_until_it_is_ended(client):
    before = time.time_ns()
    words = {"subject": "BTC*", "seconds": 60, "reason": "the venue is at work"}
    made = client.post("/api/v1/alerts/silences", json=words)
    silenced = [each["silenced"] for each in get(client, "/alerts/firing")["alerts"]]
    listed = get(client, "/alerts/silences")["silences"]
    path = f"/api/v1/alerts/silences/{made.json()['silence_id']}"

    assert made.status_code == 201
    assert listed == [made.json()]
    assert silenced == [True, False]
    assert (made.json()["actor"], made.json()["rule"]) == ("local", "*")
    assert before + 60 * SECOND <= made.json()["until"] <= time.time_ns() + 60 * SECOND
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404
    assert get(client, "/alerts/silences") == {"silences": []}
    assert not get(client, "/alerts/firing")["alerts"][0]["silenced"]


def status(client):
    """Return the newest status of the push."""
    return models.Status.model_validate(sse(client, 2)[1][2], extra="forbid").alerts


def test_push_tells_what_fires_the_worst_first_and_what_nobody_has_seen(told, tmp_path):
    with closing(open_store(told)) as store:
        late = alert(subject="ADAUSDT", ts_event=TS + 9 * SECOND)
        write_process_alerts(store, [late])  # critical, and the last to begin
    with served(told, tmp_path) as api, api.client() as client:
        at_first = status(client)
        client.post("/api/v1/alerts/acknowledgements", json={"fingerprint": CUT})
        words = {"rule": "cpu", "seconds": 60, "reason": "a long backfill"}
        client.post("/api/v1/alerts/silences", json=words)
        told_of = get(client, "/alerts/firing")["alerts"]
        afterwards = until_told(client, lambda now: now.unseen == {"critical": 1})

    assert [each.subject for each in at_first.worst] == ["BTCUSDT", "ADAUSDT", "process"]
    assert at_first.unseen == {"critical": 2, "warning": 1}
    assert afterwards.firing == 3
    assert [each.acknowledged_by for each in afterwards.worst] == ["local", None, None]
    assert [each.silenced for each in afterwards.worst] == [False, False, True]
    assert {each["fingerprint"] for each in told_of} == {
        each.fingerprint for each in afterwards.worst
    }


def until_told(client, true):
    """Return the first status of the push of which that is true."""
    for _ in range(10):  # one comes each second
        if true(now := status(client)):
            return now
        time.sleep(0.2)
    raise AssertionError("the push does not tell it")


def test_acknowledgement_is_of_who_has_the_key_and_of_what_fires(api):
    path = "/api/v1/alerts/acknowledgements"
    with api.client(api.key("operate", "ann")) as client:
        made = client.post(path, json={"fingerprint": CUT})
        over = client.post(path, json={"fingerprint": fingerprint_of("data_cut", "ETHUSDT")})
        forged = client.post(path, json={"fingerprint": CUT, "actor": "bob"})
        found = get(client, "/alerts/firing")["alerts"]

    assert made.status_code == 201
    assert made.json()["actor"] == "key:ann"
    assert [each["acknowledged_by"] for each in found] == ["key:ann", None]
    assert found[0]["acknowledged_at"] == made.json()["at"]
    assert over.status_code == 409
    assert forged.status_code == 422


@pytest.mark.parametrize(
    "words",
    [
        {"seconds": 60},
        {"seconds": 0, "reason": "x"},
        {"seconds": 31 * 86_400, "reason": "x"},
        {"seconds": 60, "reason": "x", "subject": ""},
        {"seconds": 60, "reason": "x", "actor": "bob"},
    ],
)
def test_silence_that_makes_no_sense_is_refused(client, words):
    assert client.post("/api/v1/alerts/silences", json=words).status_code == 422
    assert get(client, "/alerts/silences") == {"silences": []}


def test_cursor_of_another_listing_is_refused(client):
    page = get(client, "/alerts", limit=1)
    get(client, "/alerts/deliveries", status=422, cursor=page["next"])


def test_store_that_is_not_there_is_not_made(tmp_path):
    with served(tmp_path / "none.sqlite", tmp_path) as api, api.client() as client:
        get(client, "/alerts", status=503)
        words = {"seconds": 60, "reason": "x"}
        assert client.post("/api/v1/alerts/silences", json=words).status_code == 503
    assert not (tmp_path / "none.sqlite").exists()
