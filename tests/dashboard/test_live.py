"""The dashboard beside a run: it follows and stops it, and outlives its server and the run."""

import json
import time

from models.schema import HISTORY
from operators.messages import SECOND
from tests.api.paced import WARM, until
from tests.api.serving import served
from tests.api.test_orders import asked
from tests.dashboard.conftest import SYMBOLS

STOPPED = "SELECT ts_close FROM portfolio WHERE stopped ORDER BY ts_close LIMIT 1"
ORDER = "SELECT after FROM notices WHERE kind = 'Control' ORDER BY log_offset LIMIT 1"
NEWEST = "SELECT max(ts_close) FROM portfolio"
PRICES = (
    "return [...document.querySelectorAll('tbody td:nth-child(2)')].map((each) => each.textContent)"
)
# Marks every row, and collects the pieces of work that hold a person up: those over 50 ms.
WATCH = """
document.querySelectorAll("tbody tr").forEach((row) => { row.mark = true; });
window.since = performance.now();
window.tasks = [];
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) window.tasks.push(task.duration);
}).observe({ type: "longtask" });
"""
MOST_BUSY = 0.25  # of the time, in such pieces, on two cores that the run and others share


def deciding(live):
    """Say whether decisions come, at the pace asked for."""
    [(first, last)] = asked(live.store, "SELECT min(ts_close), max(ts_close) FROM portfolio") or [
        (0, 0)
    ]
    return bool(first) and last - first > (WARM - HISTORY + 5) * SECOND


def test_live_run_is_followed_stopped_resumed_and_found_again(browser, live, tmp_path):
    until(lambda: deciding(live), seconds=240, process=live.process)
    with served(live.store, tmp_path) as api:
        url, port = api.url, int(api.url.rpartition(":")[2])
        follow(browser, url)
        stop(browser, live)
        resume(browser, live)
    lose(browser)
    assert all("ERR_" in message for message in browser.errors())  # there was nobody to ask
    with served(live.store, tmp_path, port=port):
        find_again(browser)
        assert live.process.poll() is None
        live.process.kill()
        browser.until(lambda: "no sign of life" in browser.text(".standing"), 30)


def follow(browser, url):
    """Prices move each second, in rows that stay the same ones, without holding a person up."""
    browser.open(f"{url}/", theme="dark")
    browser.until(lambda: browser.text(".standing") == "Live")
    browser.until(lambda: len(browser.all("tbody tr")) == SYMBOLS)
    browser.run(WATCH)
    seen = set()
    clocks = set()

    def moved():
        seen.add(tuple(browser.run(PRICES)))
        clocks.add(browser.text(".clock"))
        return len(seen) > 12 and len(clocks) > 12

    browser.until(moved, 40, 0.3)
    same, tasks, lasted = browser.run(
        "return [[...document.querySelectorAll('tbody tr')].every((row) => row.mark),"
        " window.tasks, performance.now() - window.since]"
    )
    browser.photograph("live-dark")
    assert same
    assert sum(tasks) < MOST_BUSY * lasted, tasks
    assert browser.errors() == []


def stop(browser, live):
    """It counts within a second, of the log and of the clock, and nothing is approved behind it."""
    browser.one("button.stop").click()
    browser.wait("dialog input[name=reason]").send_keys("storm")
    browser.one("dialog button.danger").click()
    pressed = time.monotonic()
    until(lambda: time.monotonic() - pressed > 1.0, process=live.process)
    [[a_second_later]] = asked(live.store, NEWEST)
    [[stopped_at]] = until(lambda: asked(live.store, STOPPED), 15.0, live.process)
    [[after]] = asked(live.store, ORDER)
    assert stopped_at - after <= SECOND
    # Every decision that came into the store later than a second after the press is a stopped one.
    assert stopped_at <= a_second_later + SECOND
    browser.until(lambda: browser.one(".stopped").is_displayed())
    assert browser.text("button.stop").startswith("Resume")
    until(lambda: asked(live.store, NEWEST)[0][0] > stopped_at + SECOND, process=live.process)
    held = asked(
        live.store,
        "SELECT DISTINCT action, target_position FROM signals WHERE ts_close > ?",
        stopped_at,
    )
    assert held == [("HOLD", 0.0)]


def resume(browser, live):
    """It takes a reason and its word."""
    browser.one("button.stop").click()
    browser.wait("dialog input[name=reason]").send_keys("over")
    browser.one("dialog button[type=submit]").click()
    browser.one("dialog input[name=confirm]").send_keys("resumé")
    browser.one("dialog button[type=submit]").click()
    assert browser.all("dialog[open]")
    kinds = "SELECT body FROM notices WHERE kind = 'Control' ORDER BY log_offset"
    assert [json.loads(body)["kind"] for (body,) in asked(live.store, kinds)] == ["stop"]

    word = browser.one("dialog input[name=confirm]")
    word.clear()
    word.send_keys("resume")
    browser.one("dialog button[type=submit]").click()
    browser.until(lambda: not browser.all("dialog"))
    browser.until(lambda: not browser.one(".stopped").is_displayed(), 15)
    assert browser.text("button.stop").startswith("Emergency stop")
    assert [json.loads(body)["kind"] for (body,) in asked(live.store, kinds)] == ["stop", "resume"]


def lose(browser):
    """The server is gone: the page says so, and what it showed stays."""
    browser.until(lambda: "Link down" in browser.text(".standing"), 10)
    browser.photograph("down-dark")
    assert len(browser.all("tbody tr")) == SYMBOLS
    assert browser.one("body").get_attribute("data-link") == "bad"


def find_again(browser):
    """The server is back: the page finds it by itself, and goes on."""
    browser.until(lambda: browser.text(".standing") == "Live", 20)
    clock = browser.text(".clock")
    browser.until(lambda: browser.text(".clock") != clock, 10)
    assert browser.run("return [...document.querySelectorAll('tbody tr')].every((row) => row.mark)")
