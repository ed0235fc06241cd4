"""The page of alerts: what fires is seen, silenced and told again, and the store keeps it."""

from contextlib import closing

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from connectors.alerts.records import write_process_alerts
from connectors.sinks.store import open_store, transaction
from connectors.sinks.tables import TABLES
from operators.messages import SECOND
from tests.api.serving import served
from tests.api.test_routes import get
from tests.stores import TS, alert, store_messages

FIRING = "[aria-labelledby=firing] tbody tr"
SILENCES = "[aria-labelledby=silences] tbody tr"
BADGE = "nav .unseen-alerts"


@pytest.fixture
def told(tmp_path):
    """Return a store in which two fire, one is over, and a message to people was refused once."""
    path = store_messages(
        tmp_path / "run.sqlite",
        alert(ts_event=TS + 2 * SECOND),
        alert("drawdown", "portfolio", "warning", ts_event=TS),
        alert(subject="ETHUSDT", ts_event=TS),
        alert(subject="ETHUSDT", state="resolved", since=TS, ts_event=TS + 5 * SECOND),
        alert("signal", "ETHUSDT", "info", "event", TS + 3 * SECOND),
    )
    mail = ("0b1c8a7e5d3f4a21", "mail", "critical", TS, "[critical] demo: data_cut (1)", "", 1,
            "pending", 3, TS, "the server refused it")  # fmt: skip
    with closing(open_store(path)) as store, transaction(store):
        store.execute(TABLES["deliveries"].upsert, mail)
    return path


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_page_shows_what_fires_what_was_told_and_to_whom(browser, told, tmp_path, theme):
    with served(told, tmp_path) as api:
        browser.open(f"{api.url}/#/alerts", theme=theme)
        browser.until(lambda: browser.text(BADGE) == "2")
        firing = [row.text for row in browser.all(FIRING)]
        browser.wait("[aria-labelledby=deliveries] tbody tr")
        told_of = [row.text for row in browser.all("[aria-labelledby=told] tbody tr")]
        browser.photograph(f"firing-{theme}")

        assert [row.split()[0] for row in firing] == ["warning", "critical"]
        assert "BTCUSDT" in firing[1]
        assert len(told_of) == 5
        assert "the server refused it" in browser.text("[aria-labelledby=deliveries]")
        assert browser.faults() == []
        assert browser.errors() == []
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_alert_is_acknowledged_and_silenced_until_that_ends(browser, told, tmp_path):
    with served(told, tmp_path) as api, api.client() as client:
        browser.open(f"{api.url}/#/alerts")
        browser.until(lambda: browser.text(BADGE) == "2")
        browser.one(f"{FIRING}:nth-child(2) button").click()  # the first: to acknowledge
        browser.until(lambda: "seen by local" in browser.text(f"{FIRING}:nth-child(2)"))
        browser.until(lambda: browser.text(BADGE) == "1")
        [_, seen] = get(client, "/alerts/firing")["alerts"]

        browser.all(f"{FIRING}:nth-child(1) button")[1].click()
        Select(browser.wait("dialog select")).select_by_value("900")
        assert browser.faults() == []
        browser.one("dialog input[name=reason]").send_keys("known, being mended" + Keys.ENTER)
        browser.wait(SILENCES)
        browser.until(lambda: "silenced" in browser.text(f"{FIRING}:nth-child(1)"))
        browser.until(lambda: browser.text(BADGE) == "")
        [silence] = get(client, "/alerts/silences")["silences"]

        browser.one(f"{SILENCES} button").click()
        browser.until(lambda: not browser.all(SILENCES))
        browser.until(lambda: browser.text(BADGE) == "1")

        assert (seen["subject"], seen["acknowledged_by"]) == ("BTCUSDT", "local")
        assert (silence["rule"], silence["subject"]) == ("drawdown", "portfolio")
        assert silence["until"] - silence["made_at"] == 900 * SECOND
        assert silence["reason"] == "known, being mended"
        assert get(client, "/alerts/silences")["silences"] == []
        assert browser.errors() == []


def test_critical_alert_that_begins_is_said_on_every_page(browser, told, tmp_path):
    with served(told, tmp_path) as api:
        browser.open(f"{api.url}/#/models")
        browser.until(lambda: browser.text(BADGE) == "2")
        assert browser.text(".notice") == ""  # those that fired before are only counted

        with closing(open_store(told)) as store:
            write_process_alerts(store, [alert("emergency_stop", "portfolio", ts_event=TS)])

        browser.until(lambda: "Critical: portfolio: emergency_stop" in browser.text(".notice"))
        browser.until(lambda: browser.text(BADGE) == "3")


def test_key_that_may_only_read_silences_nothing(browser, told, tmp_path):
    with served(told, tmp_path) as api:
        key = api.key("read")
        browser.open(f"{api.url}/#/alerts")
        browser.wait("#key").send_keys(key + Keys.ENTER)
        browser.wait(FIRING)

        assert browser.all(f"{FIRING} button:enabled") == []
        assert not browser.one("[aria-labelledby=silences] .head button").is_enabled()
