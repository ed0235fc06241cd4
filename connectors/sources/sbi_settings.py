"""What the simulated Tokyo feed plays, and how fast."""

from typing import Self

import msgspec

from operators.messages import SECOND


class SbiSimSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which simulated market, and how much of it."""

    seed: int = 1  # the same seed is the same market, on every machine
    quotes: bool = True  # best bids and asks as well as trades
    # Messages a second of real time. Above it quotes are left out and backfill waits; live
    # trades are never held back.
    max_rate: float = 5_000.0
    # What is later than this is not delivered as live (quality would call it stale from 5 s
    # on) but as backfilled.
    late_ns: int = 3 * SECOND
    # How far back missed trades are made again; a stock's day takes about 0.1 s.
    backfill_days: int = 3

    def at(self, base: str) -> Self:
        """Return the same settings: there is no host to replace by `base`."""
        del base
        return self
