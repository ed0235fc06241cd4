"""Each page over a replayed store, as a person meets it: read, operated, in two languages."""

import json

import pytest
from selenium.webdriver.common.keys import Keys

from tests.api.serving import served
from tests.dashboard.conftest import ATTACK

# Of each page something that only the store could have told it.
PAGES = {
    "overview": ("", "tbody tr:nth-child(2) .badge"),
    "symbol": ("symbol/BTCUSDT", ".what-if"),
    "portfolio": ("portfolio", ".heat tbody tr:nth-child(2) td.up"),
    "models": ("models", ".calibration circle"),
    "alerts": ("alerts", "[aria-labelledby=told] tbody tr"),
    "system": ("system", "[aria-labelledby=stages] tbody tr:nth-child(8)"),
}


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("name", PAGES)
def test_page_renders_without_complaint_and_is_accessible(browser, api, name, theme):
    path, filled = PAGES[name]

    browser.open(f"{api.url}/#/{path}", theme=theme)
    browser.wait(filled)
    browser.until(lambda: "ended" in browser.text(".standing"))
    browser.photograph(f"{name}-{theme}")

    assert browser.faults() == []
    assert browser.errors() == []
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("return document.documentElement.dataset.theme") == theme


def test_overview_shows_what_the_store_holds(browser, api):
    browser.open(f"{api.url}/")
    browser.wait("tbody tr:nth-child(2) .badge")
    with api.client() as client:
        latest = client.get("/api/v1/signals/latest").json()["signals"]
        prices = {
            each["symbol"]: each["price"]
            for each in client.get("/api/v1/symbols").json()["symbols"]
        }

    shown = {row.text.split()[0]: row.text for row in browser.all("tbody tr")}

    assert set(shown) == set(prices)
    for signal in latest:
        row = shown[signal["symbol"]]
        assert f"{prices[signal['symbol']]:,.2f}" in row
        assert f"{signal['score']:+.2f}" in row
        assert signal["action"] in row


def test_headline_that_holds_markup_is_shown_as_the_text_it_is(browser, api):
    browser.open(f"{api.url}/#/symbol/BTCUSDT")
    browser.until(lambda: any(ATTACK in each.text for each in browser.all(".news p")))

    assert browser.all("main img, main script, .news b") == []
    assert browser.run("return window.attacked") is None
    assert browser.errors() == []


def decided_by_the_policy(client):
    """Return a signal that would be another one without the policy, and what it would be."""
    given = client.get("/api/v1/signals", params={"symbol": "BTCUSDT", "action": "SELL"}).json()
    for signal in given["signals"]:
        path = f"/api/v1/signals/{signal['signal_id']}/what-if"
        said = client.get(path, params={"drop": "policy"}).json()
        if not said["stands"]:
            return signal, said
    raise AssertionError("expected a sale that the policy decided, found none")


def test_signal_is_explained_and_weighed_again_by_the_api(browser, api):
    with api.client() as client:
        signal, said = decided_by_the_policy(client)

    browser.open(f"{api.url}/#/symbol/BTCUSDT/{signal['signal_id']}")
    browser.wait(".what-if input[value=policy]").click()
    answer = browser.until(lambda: "Score" in browser.text(".answer") and browser.text(".answer"))

    assert f"{said['score']:+.3f}" in answer
    assert answer.startswith("The verdict would be")
    legs = browser.text(".why table")
    for name, leg in signal["legs"].items():
        assert name.capitalize() in legs
        assert leg["abstains"] or f"{leg['value']:+.2f}" in legs


def test_keyboard_alone_reaches_sorts_and_leaves(browser, api):
    browser.open(f"{api.url}/")
    browser.wait("tbody tr:nth-child(2)")
    body = browser.one("body")

    body.send_keys(Keys.TAB)
    skip = browser.driver.switch_to.active_element
    assert skip.get_attribute("class") == "skip"
    skip.send_keys(Keys.ENTER)
    assert browser.driver.switch_to.active_element.tag_name == "main"

    button = browser.one("thead th:nth-child(2) button")
    button.send_keys(Keys.ENTER)
    assert browser.one("thead th:nth-child(2)").get_attribute("aria-sort") == "descending"
    first = browser.text("tbody tr th")
    button.send_keys(Keys.ENTER)
    assert browser.text("tbody tr th") != first
    assert browser.driver.switch_to.active_element == button

    stop = browser.one("button.stop")
    stop.send_keys(Keys.ENTER)
    browser.wait("dialog[open] input").send_keys(Keys.ESCAPE)
    browser.until(lambda: not browser.all("dialog"))
    assert browser.driver.switch_to.active_element == stop


def test_dialog_that_asks_for_a_stop_is_accessible_and_needs_a_reason(browser, api):
    browser.open(f"{api.url}/", theme="dark")
    browser.wait("tbody tr")
    browser.one("button.stop").click()
    browser.wait("dialog[open]")
    browser.photograph("stop-dark")
    faults = browser.faults()
    browser.one("dialog button.danger").click()

    assert faults == []
    assert browser.run("return document.querySelector('dialog input').matches(':invalid')")
    assert browser.all("dialog[open]")
    with api.client() as client:
        assert client.get("/api/v1/control/orders").json()["orders"] == []


def test_both_languages_say_everything_and_name_themselves(browser, api):
    browser.open(f"{api.url}/#/portfolio")
    words = browser.driver.execute_async_script(
        "const done = arguments[0];"
        "import('/static/app/words.js').then(({ LANGUAGES }) => done(JSON.stringify(LANGUAGES)));"
    )
    english, japanese = json.loads(words)["en"], json.loads(words)["ja"]
    assert set(english) == set(japanese)
    assert all(value.strip() for value in [*english.values(), *japanese.values()])

    browser.one("#language").click()
    browser.wait("html[lang=ja]")
    browser.until(lambda: browser.text("h1") == japanese["page.portfolio"])
    browser.wait(".heat td.up")
    browser.photograph("portfolio-light-ja")
    assert "年" in browser.text(".clock")
    assert "UTC" in browser.text(".clock") or "GMT" in browser.text(".clock")
    assert browser.faults() == []
    browser.driver.refresh()
    browser.until(lambda: browser.text("h1") == japanese["page.portfolio"])


def test_theme_is_changed_by_its_button_and_kept(browser, api):
    browser.open(f"{api.url}/", theme="light")
    browser.wait("tbody tr")
    background = "return getComputedStyle(document.body).backgroundColor"
    light = browser.run(background)

    browser.one("#theme").click()
    dark = browser.run(background)
    browser.driver.refresh()
    browser.wait("tbody tr")

    assert dark != light
    assert browser.run(background) == dark


def test_login_lets_in_by_key_alone_and_orders_of_a_session_are_taken(browser, store, tmp_path):
    with served(store, tmp_path) as api:
        key = api.key("operate")
        browser.open(f"{api.url}/#/portfolio", theme="dark")
        browser.wait("#key").send_keys("nx_wrong" + Keys.ENTER)
        browser.until(lambda: "unknown" in browser.text(".problem"))
        browser.photograph("login-dark")
        assert browser.faults() == []

        browser.one("#key").send_keys(key + Keys.ENTER)
        browser.wait(".heat td.up")
        assert not browser.one("[aria-labelledby=limits] tbody button").is_enabled()  # admin's
        browser.one("button.stop").click()
        browser.wait("dialog input[name=reason]").send_keys("by session" + Keys.ENTER)
        browser.until(lambda: not browser.all("dialog"))
        with api.client(key) as client:
            [order] = client.get("/api/v1/control/orders").json()["orders"]
        assert (order["actor"], order["reason"]) == ("key:ann", "by session")

        browser.one("#logout").click()
        browser.wait("#key")
        assert browser.all("nav a[aria-current]") == []
        browser.one("#key").send_keys(key + Keys.ENTER)
        browser.wait(".heat td.up")
        browser.one("nav a").click()
        browser.wait("#filter")
        [known] = api.keys.list()
        api.keys.revoke(known.id)
        browser.wait("#key", 20)  # the push ends, and the page asks why
    # What a browser says by itself of the refusals that were asked for.
    assert all("401" in message or "403" in message for message in browser.errors())
