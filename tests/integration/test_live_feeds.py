"""Live feeds against the fake venue in a process of its own: stalls, TLS, secrets, rubbish."""

import gzip
import json
import sqlite3
import subprocess
import time

import pytest

from connectors.feeds import InboxSettings
from connectors.live import LiveSettings, open_live_log
from connectors.selector import Selector, SelectorSettings
from connectors.sequencer import SequencerSettings
from connectors.sources.binance import BinanceFeed
from connectors.sources.binance_plan import BinanceSettings
from connectors.venue_clock import VenueClock
from flows.live import session_start, venue_time
from operators.messages import SECOND, Hole, HoleState, Tick
from operators.normalise import normalise
from tests.drill import engine, health, until, venue
from tests.integration.replays import command, nextgen, rows

STALL = 6.0  # seconds for which nobody empties the inbox


@pytest.fixture
def stalled(tmp_path):
    """Yield venue, feed, log: the feed runs, and its small inbox is not emptied."""
    with venue("--ping-seconds", 1, "--pong-seconds", 2, "--speed", 4) as place:
        feed = BinanceFeed(BinanceSettings().at(place.url), ("BTCUSDT", "ETHUSDT"))
        log, thread = open_live_log(
            [feed],
            tmp_path,
            Selector({}, {feed.name: feed.health}, SelectorSettings()),
            LiveSettings(inbox=InboxSettings(max_messages=600)),
            SequencerSettings(),
            lambda _: VenueClock(venue_time(place.url), 4.0),
        )
        thread.start()
        try:
            yield place, feed, log
        finally:
            thread.stop()
            log.close()


def test_reader_that_stalls_keeps_the_socket_and_gets_back_what_was_shed(stalled):
    place, feed, log = stalled
    until(lambda: len(log.inbox) > 0)
    time.sleep(STALL)  # three times what the venue grants for a pong

    shed, waiting, most = feed.health.counts["shed"], len(log.inbox), 0
    ticks = {"BTCUSDT": [], "ETHUSDT": []}
    resolved = {}

    def whole():
        nonlocal most
        for raw in log.take():
            for message in normalise([raw]):
                if isinstance(message, Tick):
                    ticks[message.symbol].append(message.trade_id)
                elif isinstance(message, Hole) and message.cause == "shed":
                    resolved[message.symbol, message.ts_from] = message.state
        most = max(most, len(log.inbox))
        return resolved and set(resolved.values()) == {HoleState.FILLED}

    until(whole, every=0.01)

    assert shed > 0
    # Holes are told also when it is full: two, of 600 messages.
    assert 300 <= waiting <= 620
    assert most <= 620
    assert feed.health.counts["connections"] == 1
    assert feed.health.counts["reconnects"] == 0
    assert place.get("rules")["breaches"] == {}
    for symbol, ids in ticks.items():
        assert sorted(ids) == list(range(min(ids), max(ids) + 1)), symbol
        assert len(ids) > 100


def test_market_in_which_nothing_trades_is_quiet_and_no_gap(tmp_path):
    store = tmp_path / "live.sqlite"
    with venue("--speed", 4) as place:
        with engine(place, store, "--speed", 4) as process:
            until(lambda: bars(store) > 10)
            place.post("fault", {"kind": "quiet", "seconds": 20})
            until(lambda: bars(store) > 100)
            assert process.poll() is None
        breaches = place.get("rules")["breaches"]
    qualities = [quality for (quality,) in rows(store, "SELECT quality FROM final_bars")]

    assert qualities.count("quiet") >= 20
    assert "gap" not in qualities
    assert breaches == {}


def bars(store):
    try:
        return rows(store, "SELECT count(*) FROM bars")[0][0]
    except sqlite3.OperationalError:  # not there yet
        return 0


def test_venue_of_an_authority_we_trust_is_used_and_no_other(tmp_path):
    ca, store = tmp_path / "ca", tmp_path / "live.sqlite"
    with venue("--tls", "--tls-folder", ca) as place:
        wanted = ("--profile", "binance", "--exchange", place.url, "--seconds", 8, "--quiet")
        told = nextgen("run", *wanted, "--store", tmp_path / "no.sqlite", code=2)
        nextgen("run", *wanted, "--store", store, "--ca", ca / "ca.pem")
    state, counts, _ = health(store)

    assert "certificate" in told
    assert "--ca" in told
    assert state == "up"
    assert counts["messages"] > 100


PROFILE = """
[group]
symbols = ["BTCUSDT", "ETHUSDT"]

[feeds]
order = ["binance", "yahoo", "alpha_vantage"]
news = ["rss", "coindesk", "reddit", "stocktwits", "alpha_vantage_news", "fear_greed"]

[feeds.alpha_vantage_news]
tickers = ["CRYPTO:BTC"]
topics = []

[feeds.stocktwits.symbols]
BTCUSDT = "BTC.X"

[feeds.names.yahoo]
BTCUSDT = "BTC-USD"
ETHUSDT = "ETH-USD"

[feeds.names.alpha_vantage]
BTCUSDT = "AAPL"
ETHUSDT = "IBM"

[[feeds.rss]]
name = "desk"
url = "https://desk.invalid/rss"
market_wide = true
"""


def test_no_key_token_or_author_is_written_anywhere(tmp_path):
    profile = tmp_path / "all.toml"
    profile.write_text(PROFILE)
    keys = {
        "NEXTGEN_ALPHA_VANTAGE_KEY": "CANARYALPHA01",
        "NEXTGEN_BINANCE_KEY": "canary-binance-key",
        "NEXTGEN_REDDIT_ID": "canary-reddit-id",
        "NEXTGEN_REDDIT_SECRET": "canary-reddit-secret",
        "NEXTGEN_COINDESK_KEY": "canary-coindesk-key",
        "NEXTGEN_AUTHOR_KEY": "canary-author-key-of-32-characters",
    }
    out = tmp_path / "out.txt"
    with venue() as place:
        line, how = command(
            "run", "--profile", profile, "--exchange", place.url, "--store",
            tmp_path / "live.sqlite", "--record", tmp_path / "recording", "--seconds", 12,
            "--quiet", "--metrics-port", 9464 + hash(str(tmp_path)) % 500, **keys,
        )  # fmt: skip
        with out.open("wb") as output:
            done = subprocess.run(line, stdout=output, stderr=output, check=False, **how)
        nextgen("summary", tmp_path / "live.sqlite", "--json")
    assert done.returncode == 0, out.read_text()
    kinds = dict(
        rows(tmp_path / "live.sqlite", "SELECT feed, state FROM feeds WHERE state != 'cut'")
    )
    assert {"binance", "yahoo", "desk", "coindesk", "reddit", "stocktwits"} <= kinds.keys()
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != profile]
    assert len(written) > 6
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        assert b"canary" not in content.lower(), path


def test_stopped_run_goes_on_and_fetches_what_it_missed(tmp_path):
    store = tmp_path / "live.sqlite"
    with venue("--speed", 2) as place:
        for enough in (10, 40):
            with engine(place, store, "--speed", 2) as process:
                until(lambda count=enough: bars(store) > count)
            assert process.returncode == 0
        told = json.loads(nextgen("gaps", store, "--json"))
    found = rows(store, "SELECT cause, state FROM holes")

    assert {("down", "filled")} == set(found)
    assert told["missing"] == 0


def test_session_that_is_over_is_played_from_shortly_before_its_open():
    friday = 1_732_255_200 * SECOND  # 2024-11-22 15:00 in Tokyo, while it trades
    night = friday + 5 * 3600 * SECOND
    opens = 1_732_233_600 * SECOND

    assert session_start("XTKS", friday) == friday
    assert session_start("XTKS", night) == opens - 10 * SECOND
    assert session_start("XTKS", night + 48 * 3600 * SECOND) == opens - 10 * SECOND


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--profile", "binance", "--symbols", " , "), "expected symbols"),
        (("--profile", "equities", "--symbols", "AAPL"), "no feed is named for AAPL"),
        (("--profile", "multi", "--symbols", "DOGEUSDT"), "does not say what it calls DOGEUSDT"),
        (("--profile", "nowhere"), "no profile 'nowhere'"),
        (("--profile", "binance", "--exchange", "http://127.0.0.1:9"), "does not tell its time"),
        (("--profile", "binance", "--speed", "2"), "not this machine's"),
        (("--profile", "binance", "--ca", "/nowhere.pem"), "holds no certificate"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(tmp_path, options, sentence):
    told = nextgen("run", *options, "--store", tmp_path / "live.sqlite", "--quiet", code=2)

    assert sentence in " ".join(told.split())
