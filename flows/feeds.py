"""Which feeds a live run listens to: the [live] and [feeds] tables of a profile.

Nothing here decides a signal: what the feeds delivered stands in the log. So these settings
are no part of a run's identity, and keys are secrets.
"""

import os
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from connectors.feeds import Feed
from connectors.live import LiveSettings
from connectors.recorder import RecorderSettings
from connectors.secrets import AuthorHash, Secret
from connectors.selector import SelectorSettings
from connectors.sources.alpha_vantage import AlphaVantageFeed, AlphaVantageSettings
from connectors.sources.alpha_vantage_budget import DailyBudget
from connectors.sources.alpha_vantage_news import AlphaVantageNewsFeed, AlphaVantageNewsSettings
from connectors.sources.binance import BinanceFeed
from connectors.sources.binance_plan import BinanceSettings
from connectors.sources.coindesk import CoinDeskFeed, CoinDeskSettings
from connectors.sources.fear_greed import (
    CnnFearGreedFeed,
    CnnFearGreedSettings,
    FearGreedFeed,
    FearGreedSettings,
)
from connectors.sources.headlines import HeadlineDesk, HeadlineSettings
from connectors.sources.poll_hosts import Hosts
from connectors.sources.reddit import RedditFeed, RedditSettings
from connectors.sources.rss import RssFeed, RssSettings
from connectors.sources.sbi_sim import SbiSimFeed, SbiSimSettings
from connectors.sources.stocktwits import StockTwitsFeed, StockTwitsSettings
from connectors.sources.symbol_book import SymbolBook
from connectors.sources.yahoo import YahooFeed
from connectors.sources.yahoo_settings import YahooSettings
from flows.secret_lookup import find_secret
from operators.errors import InputError, SettingsError

NEWS = (
    "rss", "coindesk", "reddit", "stocktwits", "alpha_vantage_news", "fear_greed",
    "cnn_fear_greed",
)  # fmt: skip
SIMULATED = "sbi"
_ALPHA = "ALPHA_VANTAGE_KEY"
MARKETS = ("binance", "yahoo", "alpha_vantage", SIMULATED)


class FeedsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The feeds of a profile."""

    # The feeds of each symbol, most wanted first, and those of single symbols.
    order: tuple[str, ...] = ()
    orders: dict[str, tuple[str, ...]] = {}
    # What a feed calls our symbols, by feed: {"yahoo": {"BTCUSDT": "BTC-USD"}}.
    names: dict[str, dict[str, str]] = {}
    news: tuple[str, ...] = ()  # which of the following are read
    rss: tuple[RssSettings, ...] = ()  # each counts as wanted where "rss" is
    coindesk: CoinDeskSettings = CoinDeskSettings()
    reddit: RedditSettings = RedditSettings()
    stocktwits: StockTwitsSettings = StockTwitsSettings()
    alpha_vantage_news: AlphaVantageNewsSettings = AlphaVantageNewsSettings()
    fear_greed: FearGreedSettings = FearGreedSettings()
    cnn_fear_greed: CnnFearGreedSettings = CnnFearGreedSettings()
    headlines: HeadlineSettings = HeadlineSettings()
    selector: SelectorSettings = SelectorSettings()
    record: RecorderSettings = RecorderSettings()
    binance: BinanceSettings = BinanceSettings()
    yahoo: YahooSettings = YahooSettings()
    alpha_vantage: AlphaVantageSettings = AlphaVantageSettings()
    sbi: SbiSimSettings = SbiSimSettings()

    def of(self, symbol: str) -> tuple[str, ...]:
        """Return the feeds of a symbol, most wanted first."""
        return self.orders.get(symbol, self.order)


class LiveProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a live run needs beyond what decides."""

    feeds: FeedsSettings = FeedsSettings()
    live: LiveSettings = LiveSettings()
    # "machine" is this machine's clock, "venue" the venue's (asked once, at the start),
    # "session" the simulated market's: its latest session from the open, if it is closed now.
    clock: Literal["machine", "venue", "session"] = "machine"


class Keys(NamedTuple):
    """What only the environment knows."""

    alpha_vantage: Secret | None = None
    binance: Secret | None = None
    reddit_id: Secret | None = None
    reddit_secret: Secret | None = None
    coindesk: Secret | None = None
    author: bytes | None = None


def find_keys() -> Keys:
    """Return the keys that the environment or the secrets file holds.

    Raises:
        SettingsError: a file that a variable names cannot be read.
        SecretsError: the secrets file cannot be opened.
    """
    author = find_secret("AUTHOR_KEY")
    return Keys(
        alpha_vantage=find_secret("ALPHA_VANTAGE_KEY"),
        binance=find_secret("BINANCE_KEY"),
        reddit_id=find_secret("REDDIT_ID"),
        reddit_secret=find_secret("REDDIT_SECRET"),
        coindesk=find_secret("COINDESK_KEY"),
        author=None if author is None else author.reveal().encode(),
    )


def live_profile(tables: Mapping[str, Any], source: Path) -> LiveProfile:
    """Convert the [live] and [feeds] tables of a profile.

    Raises:
        SettingsError: an unknown key or feed, an impossible value, or a key that belongs into
            the environment.
    """
    live = tables.get("live", {})
    if not isinstance(live, Mapping):
        raise SettingsError(f"profile {source}: live must be a table")
    live = dict(live)
    clock = live.pop("clock", "machine")
    whole = {"feeds": tables.get("feeds", {}), "live": live, "clock": clock}
    try:
        profile = msgspec.convert(whole, LiveProfile, strict=True, dec_hook=_no_secret)
    except msgspec.ValidationError as error:
        raise SettingsError(f"profile {source}: {error}") from error
    feeds = profile.feeds
    named = {feed for order in (feeds.order, *feeds.orders.values()) for feed in order}
    for found, known in ((named | feeds.names.keys(), MARKETS), (set(feeds.news), NEWS)):
        for feed in sorted(found - set(known)):
            raise SettingsError(
                f"profile {source}: there is no feed '{feed}'; there are {', '.join(known)}"
            )
    if SIMULATED in named and named != {SIMULATED}:
        raise SettingsError(
            f"profile {source}: the simulated feed '{SIMULATED}' must not share a portfolio with "
            f"{', '.join(sorted(named - {SIMULATED}))}; give it a profile of its own"
        )
    return profile


def _no_secret(kind: type, _: object) -> Any:
    if kind is Secret:
        raise ValueError("keys are taken from the environment only, see the README")
    raise NotImplementedError(kind)


def at_exchange(profile: LiveProfile, base: str) -> LiveProfile:
    """Return the profile with every host replaced by the venue at `base`, a http(s) URL."""
    feeds: dict[str, Any] = {
        field: value.at(base)
        for field in FeedsSettings.__struct_fields__
        if hasattr(value := getattr(profile.feeds, field), "at")
    }
    feeds["rss"] = tuple(feed.at(base) for feed in profile.feeds.rss)
    return msgspec.structs.replace(profile, feeds=msgspec.structs.replace(profile.feeds, **feeds))


def tls_of(ca: Path | None) -> ssl.SSLContext | None:
    """Return a context that also trusts the authority in `ca`, None for the usual ones.

    Raises:
        InputError: the file is absent or holds no certificate.
    """
    if ca is None:
        return None
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{ca} holds no certificate that can be trusted: {error}") from error
    return context


def open_feeds(
    profile: LiveProfile,
    symbols: tuple[str, ...],
    keys: Keys,
    tls: ssl.SSLContext | None = None,
    *,
    simulated: bool = False,
) -> list[Feed]:
    """Return the feeds that the universe needs, market data first.

    Raises:
        SettingsError: a symbol that no feed delivers, or a key that is needed and absent.
    """
    feeds = profile.feeds
    carried: dict[str, dict[str, str]] = {}
    unknown = sorted(set(feeds.orders) - set(symbols))
    if unknown:
        raise SettingsError(f"[feeds.orders] names {', '.join(unknown)}, not in the universe")
    if any(name != symbol for symbol, name in feeds.names.get("binance", {}).items()):
        raise SettingsError("[feeds.names.binance]: symbols must be named as Binance names them")
    for symbol in symbols:
        order = feeds.of(symbol)
        for feed in order:
            name = feeds.names.get(feed, {}).get(symbol)
            if name is None and feed != order[0]:
                raise SettingsError(f"[feeds.names.{feed}] does not say what it calls {symbol}")
            carried.setdefault(feed, {})[symbol] = name or symbol
        if not order:
            raise SettingsError(f"no feed is named for {symbol}: set feeds.order in the profile")
    if simulated != (SIMULATED in carried):
        raise SettingsError(
            f"group.simulated must be true for the feed '{SIMULATED}', and only for it"
        )
    budget = DailyBudget(feeds.alpha_vantage.requests_per_day)
    hosts = Hosts()
    key = keys.alpha_vantage
    made: dict[str, Callable[[dict[str, str]], Feed]] = {
        "binance": lambda names: BinanceFeed(
            msgspec.structs.replace(feeds.binance, api_key=keys.binance), tuple(names), tls
        ),
        "yahoo": lambda names: YahooFeed(feeds.yahoo, names, tls),
        "alpha_vantage": lambda names: AlphaVantageFeed(
            msgspec.structs.replace(feeds.alpha_vantage, api_key=_needed(key, _ALPHA)),
            names,
            tls,
            hosts=hosts,
            budget=budget,
        ),
        SIMULATED: lambda names: SbiSimFeed(feeds.sbi, names),
    }
    markets = [made[feed](carried[feed]) for feed in MARKETS if feed in carried]
    opened = [*markets, *_news(feeds, symbols, keys, tls=tls, hosts=hosts, budget=budget)]
    names = Counter(feed.name for feed in opened)
    if twice := [name for name, count in names.items() if count > 1]:
        raise SettingsError(f"two feeds are called {', '.join(twice)}")
    return opened


def _news(
    feeds: FeedsSettings,
    symbols: tuple[str, ...],
    keys: Keys,
    *,
    tls: ssl.SSLContext | None,
    hosts: Hosts,
    budget: DailyBudget,
) -> list[Feed]:
    """Return the wanted feeds of news and mood; they share what was told already."""
    if not feeds.news:
        return []
    replace = msgspec.structs.replace
    author = AuthorHash(keys.author or os.urandom(32))  # unless set, good for this process
    desk = HeadlineDesk(SymbolBook(symbols), author, feeds.headlines)
    common: dict[str, Any] = {"tls": tls, "hosts": hosts}
    coindesk = replace(feeds.coindesk, api_key=keys.coindesk or Secret())
    reddit = feeds.reddit
    if keys.reddit_id and keys.reddit_secret:
        reddit = replace(
            reddit, client_id=keys.reddit_id.reveal(), client_secret=keys.reddit_secret
        )
    made: dict[str, Callable[[], list[Feed]]] = {
        "rss": lambda: [RssFeed(one, desk, **common) for one in feeds.rss],
        "coindesk": lambda: [CoinDeskFeed(coindesk, desk, **common)],
        "reddit": lambda: [RedditFeed(reddit, desk, **common)],
        "stocktwits": lambda: [StockTwitsFeed(feeds.stocktwits, desk, **common)],
        "alpha_vantage_news": lambda: [
            AlphaVantageNewsFeed(
                replace(feeds.alpha_vantage_news, api_key=_needed(keys.alpha_vantage, _ALPHA)),
                desk,
                budget=budget,
                **common,
            )
        ],
        "fear_greed": lambda: [FearGreedFeed(feeds.fear_greed, **common)],
        "cnn_fear_greed": lambda: [CnnFearGreedFeed(feeds.cnn_fear_greed, **common)],
    }
    return [feed for name in NEWS if name in feeds.news for feed in made[name]()]


def _needed(key: Secret | None, name: str) -> Secret:
    if not key:
        raise SettingsError(f"this feed needs a key: set NEXTGEN_{name} in the environment")
    return key
