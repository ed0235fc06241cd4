"""How Yahoo's stream is used, and when its silence means something."""

from typing import Self
from urllib.parse import urlsplit, urlunsplit

import msgspec


class YahooMarket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Symbols that end alike trade at the same hours, about as often."""

    suffix: str  # of Yahoo's names; empty: names without a "." or "="
    calendar: str  # "24/7", or an exchange's code
    # Without a frame for so long while its market trades, a symbol's subscription is taken to
    # be lost. Too short opens holes where nobody traded.
    stale_seconds: float


# Liquid shares trade each second; a Tokyo one may rest for minutes.
_MARKETS = (
    YahooMarket("-USD", "24/7", 60.0),
    YahooMarket(".T", "XTKS", 300.0),
    YahooMarket("=X", "24/5", 120.0),
    YahooMarket("=F", "CMES", 120.0),
    YahooMarket("", "XNYS", 60.0),
)


class YahooSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How Yahoo's stream is used. Times are of the monotonic clock."""

    url: str = "wss://streamer.finance.yahoo.com/?version=2"
    # Yahoo forgets who does not repeat; 15 s is what its own page does.
    resubscribe_seconds: float = 15.0
    # No limit is documented; with more, one cut would take more symbols with it.
    symbols_per_connection: int = 100
    markets: tuple[YahooMarket, ...] = _MARKETS  # the longest suffix that fits holds
    # A connection that stays silent is replaced after its most lively symbol's `stale_seconds`,
    # and after twice as long each time that the new one brings nothing either, up to this.
    most_silent_seconds: float = 900.0
    quiet_seconds: float = 60.0  # of silence make a feed "quiet" while no market trades
    # Yahoo closes after about 20 minutes; by then the next connection has taken over.
    max_age_seconds: float = 900.0
    # Both connections deliver for so long before the older one is closed.
    overlap_seconds: float = 2.0
    # The new one must deliver by then if the older one does, or is given up.
    rotation_patience_seconds: float = 30.0
    # After a cut, a symbol that does not trade is taken to be well again so long after its new
    # subscription, if others deliver on it.
    settle_seconds: float = 5.0
    check_seconds: float = 0.5  # how often silence and age are looked at
    backoff_first_seconds: float = 0.25
    backoff_most_seconds: float = 30.0
    open_timeout_seconds: float = 10.0
    close_timeout_seconds: float = 1.0  # the connection is not needed any more by then
    # A peer that does not answer a ping is gone, even if nothing was to be expected of it.
    ping_seconds: float = 20.0
    ping_timeout_seconds: float = 20.0
    max_frame_bytes: int = 1 << 18  # a real one has 400 bytes; a longer one ends its connection
    # Equal frames of a symbol are dropped among so many of its last ones: two connections
    # that overlap, and each subscription, tell things twice.
    remembered_frames: int = 256
    lag_note_seconds: float = 15.0  # frames older than this are remarked upon in the health

    def at(self, base: str) -> Self:
        """Return the same settings for the venue at `base`, such as "http://127.0.0.1:8900"."""
        there, here = urlsplit(base), urlsplit(self.url)
        scheme = "wss" if there.scheme in {"https", "wss"} else "ws"
        url = urlunsplit((scheme, there.netloc, here.path or "/", here.query, ""))
        return msgspec.structs.replace(self, url=url)

    def market_of(self, name: str) -> YahooMarket | None:
        """Return the market of Yahoo's `name`; None where nothing is known of its hours.

        >>> [YahooSettings().market_of(name).calendar for name in ("AAPL", "7203.T", "BTC-USD")]
        ['XNYS', 'XTKS', '24/7']
        >>> YahooSettings().market_of("VOD.L") is None
        True
        """
        fitting = [
            market
            for market in self.markets
            if (name.endswith(market.suffix) if market.suffix else not {".", "="} & set(name))
        ]
        return max(fitting, key=lambda market: len(market.suffix), default=None)
