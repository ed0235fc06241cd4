"""How Binance's streams are used, and which connection carries which of them."""

from typing import Literal, Self
from urllib.parse import quote, urlsplit

import msgspec

from connectors.secrets import Secret

MOST_STREAMS = 1024  # of one connection; the venue's limit
_PATH = "/stream?streams="


class BinanceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How Binance spot is used. Times are of the monotonic clock, in seconds.

    Limits are the venue's own ("WebSocket Streams", "REST API, Limits"); what is kept free of
    them is said beside each.
    """

    # In order of preference. The last one serves market data only, so it is the least busy.
    ws_hosts: tuple[str, ...] = (
        "wss://stream.binance.com:9443",
        "wss://stream.binance.com:443",
        "wss://data-stream.binance.vision",
    )
    # The first serves market data only and asks for no key.
    rest_hosts: tuple[str, ...] = ("https://data-api.binance.vision", "https://api.binance.com")
    # "aggTrade" merges the fills of one order: fewer messages, and cheaper to backfill (a page
    # weighs 4; of "trade" 25), but another tape with ids of its own.
    trades: Literal["trade", "aggTrade"] = "trade"
    quotes: bool = True  # bookTicker
    klines: tuple[str, ...] = ()  # intervals such as "1s"; a kline missed is not fetched again
    # Few, so that a cut takes few symbols with it: 50 symbols with trades and quotes are two
    # connections.
    streams_per_connection: int = 50
    # A longer URL is refused by some proxies; more connections are opened instead, so that no
    # subscription message counts against the limit below.
    url_length: int = 4000
    connects_per_window: int = 300  # of one IP; a tenth of it is left to others
    connect_window_seconds: float = 300.0
    # PING, PONG and JSON that we send on one connection; one of them is never used, since the
    # venue counts arrivals and a network may press sendings together.
    messages_per_second: int = 5
    rotation_seconds: float = 23 * 3600.0  # the venue closes after 24 h
    # Of a rotation: the new connection must have delivered for `overlap_least_seconds` beside
    # the old one; after `overlap_seconds` the old one is closed in any case.
    overlap_least_seconds: float = 0.5
    overlap_seconds: float = 5.0
    # A connection that brings nothing for half of this is asked by a ping of ours (one, which
    # counts as a message). One that stays dumb is cut. One that answers may still be half-open
    # behind a proxy, so another is opened beside it; each time that brings nothing either, the
    # next is tried after twice as long.
    silence_seconds: float = 5.0
    most_silence_seconds: float = 300.0
    # Trades that are so old on arrival, smoothed, for `lag_patience_seconds`, have the
    # connection replaced; once, for the venue itself may be late.
    lag_seconds: float = 3.0
    lag_patience_seconds: float = 5.0
    lag_again_seconds: float = 300.0
    check_seconds: float = 0.1  # how often age, silence and lag are looked at
    # Bars close without trades that are so old on arrival, smoothed: a hole, until they are not.
    late_seconds: float = 1.5
    open_timeout_seconds: float = 5.0
    close_timeout_seconds: float = 2.0
    # The first attempt after a cut comes at once, give or take this; so do those of all
    # connections that one fault has cut.
    first_retry_seconds: float = 0.05
    backoff_first_seconds: float = 0.25
    # Four connections that fail for long stay below the limit on attempts.
    backoff_most_seconds: float = 10.0
    stable_seconds: float = 3.0  # a connection that lived so long was no failure to connect
    failures_before_next_host: int = 3
    breach_seconds: float = 10.0  # pause after a 1008, doubled at each; a ban would be worse
    # An IP's requests to all of the REST API; a part is left to whatever else runs here.
    weight_per_minute: int = 6000
    weight_share: float = 0.8
    backfills_at_once: int = 4
    request_timeout_seconds: float = 10.0
    # Before the first request for trades that were skipped: those that only came out of order
    # arrive by then.
    grace_seconds: float = 0.25
    # After a cut, a symbol without a new trade is whole once REST has nothing newer so long
    # after the stream came back: REST may be behind the stream by this. A stream on which
    # nothing comes at all counts as back after a third of it.
    settle_seconds: float = 3.0
    give_up_seconds: float = 3600.0  # of trying to fill a hole
    # Ids of one hole beyond which it is not filled: 1,000 requests of `trade`.
    most_ids: int = 1_000_000
    # A leap of an id beyond this is believed once the next trade confirms it.
    leap_ids: int = 100_000
    # After a longer stop nothing is fetched: more than 60 s of bars are not repaired.
    max_down_seconds: float = 60.0
    api_key: Secret | None = None  # some hosts want one for historicalTrades

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: with what was expected and what was found.
        """
        if not 1 <= self.streams_per_connection <= MOST_STREAMS:
            raise ValueError(
                f"streams_per_connection: expected 1 to {MOST_STREAMS}, "
                f"found {self.streams_per_connection}"
            )
        if self.trades not in {"trade", "aggTrade"}:
            raise ValueError(f'trades: expected "trade" or "aggTrade", found {self.trades!r}')
        if not self.ws_hosts or not self.rest_hosts:
            raise ValueError("ws_hosts and rest_hosts: expected at least one of each")
        if self.messages_per_second < 2:
            raise ValueError("messages_per_second: expected 2 or more, as one is kept free")
        if not 0.0 < self.weight_share <= 1.0:
            raise ValueError(f"weight_share: expected 0 to 1, found {self.weight_share}")

    def at(self, base: str) -> Self:
        """Return the same settings for the venue at `base`, such as "http://127.0.0.1:8900".

        >>> BinanceSettings().at("https://127.0.0.1:8900").ws_hosts
        ('wss://127.0.0.1:8900',)
        """
        there = urlsplit(base)
        secure = there.scheme in {"https", "wss"}
        return msgspec.structs.replace(
            self,
            ws_hosts=(f"{'wss' if secure else 'ws'}://{there.netloc}",),
            rest_hosts=(f"{'https' if secure else 'http'}://{there.netloc}",),
        )

    @property
    def streams_per_symbol(self) -> int:
        """How many streams each symbol has."""
        return 1 + self.quotes + len(self.klines)


class Shard(msgspec.Struct, frozen=True):
    """The symbols that share a connection, with all of their streams."""

    symbols: tuple[str, ...]
    streams: tuple[str, ...]
    path: str  # of the URL, with its query


def streams_of(symbol: str, settings: BinanceSettings) -> tuple[str, ...]:
    """Return the names of a symbol's streams.

    >>> streams_of("BTCUSDT", BinanceSettings(klines=("1s",)))
    ('btcusdt@trade', 'btcusdt@bookTicker', 'btcusdt@kline_1s')
    """
    name = symbol.lower()
    quotes = (f"{name}@bookTicker",) if settings.quotes else ()
    klines = tuple(f"{name}@kline_{interval}" for interval in settings.klines)
    return (f"{name}@{settings.trades}", *quotes, *klines)


def plan(settings: BinanceSettings, symbols: tuple[str, ...]) -> tuple[Shard, ...]:
    """Share out `symbols` over as few connections as the limits allow, evenly.

    A symbol's streams stay together, so that a cut is one hole for it.

    Raises:
        ValueError: a symbol is empty or named twice, or has more streams than a connection.
    """
    if not all(symbols) or len(set(symbols)) < len(symbols):
        raise ValueError(f"expected symbols named once each, found {', '.join(symbols)!r}")
    if settings.streams_per_symbol > settings.streams_per_connection:
        raise ValueError(
            f"a symbol has {settings.streams_per_symbol} streams, but streams_per_connection "
            f"is {settings.streams_per_connection}"
        )
    if not symbols:
        return ()
    longest_host = max(len(host) for host in settings.ws_hosts)
    count = -(-len(symbols) // (settings.streams_per_connection // settings.streams_per_symbol))
    while True:
        shards = [_shard(settings, symbols[at::count]) for at in range(count)]
        longest = max(len(shard.path) for shard in shards)
        if longest + longest_host <= settings.url_length or count == len(symbols):
            return tuple(shards)
        count += 1


def _shard(settings: BinanceSettings, symbols: tuple[str, ...]) -> Shard:
    streams = tuple(stream for symbol in symbols for stream in streams_of(symbol, settings))
    # Some symbols are not ASCII.
    return Shard(symbols, streams, _PATH + quote("/".join(streams), safe="/@"))
