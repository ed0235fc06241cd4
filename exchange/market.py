"""What the venue trades: the recorded symbols, and shifted copies of them under other names."""

from itertools import islice

from exchange.clock import VenueClock
from exchange.instruments import Instrument
from exchange.recordings import Recording

__all__ = ["Market", "MarketError", "base_and_quote", "copies", "copy_name"]

_QUOTED_IN = ("USDT", "FDUSD", "USDC", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "JPY", "TRY")
_PER_LETTER = 9


class MarketError(Exception):
    """The market that was asked for cannot be made; the sentence says why."""


class Market:
    """All instruments, by symbol."""

    def __init__(self, instruments: dict[str, Instrument], clock: VenueClock) -> None:
        """Make a market of `instruments` that share `clock`."""
        self.instruments = instruments
        self.clock = clock

    def end(self) -> int | None:
        """Tell where on the schedule nothing more comes; None where it goes on for ever."""
        ends = [instrument.end() for instrument in self.instruments.values()]
        return None if None in ends else max((end for end in ends if end is not None), default=0)

    @property
    def ended(self) -> bool:
        """Whether everything was sent."""
        end = self.end()
        return end is not None and self.clock.position() > end


def copies(
    recording: Recording,
    clock: VenueClock,
    *,
    count: int = 0,
    delay: int = 0,
    looped: bool = False,
) -> dict[str, Instrument]:
    """Make `count` symbols of a recording's (0: those recorded), copies `delay` ns apart.

    BTCUSDT's copies are BTCA1USDT, BTCA2USDT, ... The n-th copy of each symbol happens n times
    `delay` later, so that copies do not move in step.

    Raises:
        MarketError: there are more copies asked for than names.
    """
    tracks = recording.tracks
    wanted = count or len(tracks)
    if wanted > len(tracks) * (1 + 26 * _PER_LETTER):
        raise MarketError(
            f"{wanted} symbols were asked for; {len(tracks)} recorded ones give at most "
            f"{len(tracks) * (1 + 26 * _PER_LETTER)}"
        )
    every = ((track, number) for number in range(wanted) for track in tracks)
    made: dict[str, Instrument] = {}
    for track, number in islice(every, wanted):
        symbol = copy_name(track.symbol, number)
        made[symbol] = Instrument(
            symbol, track, clock, recording.length, delay=number * delay, looped=looped
        )
    return made


def copy_name(symbol: str, number: int) -> str:
    """Name the `number`-th copy of `symbol`; the 0th is itself.

    >>> [copy_name("BTCUSDT", number) for number in (0, 1, 9, 10)]
    ['BTCUSDT', 'BTCA1USDT', 'BTCA9USDT', 'BTCB1USDT']
    """
    if not number:
        return symbol
    letter, digit = divmod(number - 1, _PER_LETTER)
    base, quote = base_and_quote(symbol)
    return f"{base}{chr(ord('A') + letter)}{digit + 1}{quote}"


def base_and_quote(symbol: str) -> tuple[str, str]:
    """Split a symbol into its base and what it is quoted in.

    >>> base_and_quote("ETHUSDT")
    ('ETH', 'USDT')
    """
    for quote in _QUOTED_IN:
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote), quote
    return symbol, ""
