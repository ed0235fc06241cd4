"""All prices that Yahoo's and Alpha Vantage's endpoints serve: recorded shares and the market.

Every price was recorded somewhere; what is made up is when it is served, and for copies under
which name.
"""

import asyncio

import msgspec

from exchange.app import Venue
from exchange.crypto_prints import CryptoPrints
from exchange.parts import part, settings_of
from exchange.prints import Print
from exchange.share_prices import Hours, SharePrices

__all__ = ["PriceSettings", "Prices", "prices_of"]


class PriceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How recorded prices are placed on the venue's clock."""

    # "calendar" keeps New York's hours: a venue whose clock stands at night has no regular
    # prices of shares. "continuous" trades without a break from the venue's start on.
    hours: Hours = "calendar"
    # Continuous hours: how long a one-minute bar lasts, venue time. Less is a livelier stream.
    bar_seconds: float = 60.0
    # Crypto: at most one print in so many seconds, about what Yahoo sends.
    crypto_frame_seconds: float = 1.0
    # Further names for recorded symbols, as {"7203.T": "AAPL"}: the source's very prices,
    # hours, currency and all, under another name.
    copies: dict[str, str] = {}


class Prices:
    """Prints by Yahoo's names."""

    def __init__(
        self, shares: SharePrices, crypto: CryptoPrints, copies: dict[str, str] | None = None
    ) -> None:
        """Serve two sources as one.

        Raises:
            ValueError: a copy of a symbol that has no prices.
        """
        self._shares = shares
        self._crypto = crypto
        self._copies = dict(copies or {})
        known = {*shares.symbols, *crypto.symbols}
        for name, source in self._copies.items():
            if source not in known:
                raise ValueError(f"{name!r} is to copy {source!r}, which has no prices here")
        self.symbols = frozenset([*known, *self._copies])

    def prints(self, symbol: str, after: int, until: int) -> list[Print]:
        """Return the prints of `symbol` in (after, until], in order; venue times in ns."""
        source = self._copies.get(symbol, symbol)
        of = self._crypto if source in self._crypto.symbols else self._shares
        found = of.prints(source, after, until)
        return found if source == symbol else [p._replace(symbol=symbol) for p in found]

    def last_share(self, symbol: str, now: int) -> Print | None:
        """Return a share's newest print of regular hours up to `now`, if it had one for days."""
        return self._shares.last_regular(self._copies.get(symbol, symbol), now)


async def prices_of(venue: Venue) -> Prices:
    """Return the prices of `venue`, read the first time that they are asked for.

    Reading takes about a second, in a thread: other endpoints go on serving. A venue whose
    prices nobody asks for does not pay.
    """
    return await asyncio.to_thread(part, venue, _make)


def _make(venue: Venue) -> Prices:
    settings = settings_of(venue, PriceSettings)
    shares = SharePrices(
        hours=settings.hours,
        origin=lambda: venue.clock.start,
        bar_seconds=settings.bar_seconds,
        seed=venue.settings.seed,
    )
    crypto = CryptoPrints(
        venue.market.instruments.values(),
        venue.clock,
        frame_seconds=settings.crypto_frame_seconds,
    )
    return Prices(shares, crypto, settings.copies)
