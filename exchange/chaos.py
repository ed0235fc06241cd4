"""Scripts of faults drawn at random, the same again from the same seed."""

from collections.abc import Sequence
from random import Random

from exchange.faults import Fault, FaultError, Kind, Target

__all__ = ["CHAOS", "chaos"]

# What every client must live through. Left out are those that change what is true (quiet), those
# that a client cannot tell from the truth (clock_skew) and that of TLS; they can be named.
CHAOS = (
    Kind.CUT, Kind.HALF_OPEN, Kind.SLOW, Kind.GAP, Kind.DUPLICATE, Kind.REORDER, Kind.WRONG_JSON,
    Kind.TRUNCATED_FRAME, Kind.POLICY_CLOSE, Kind.SERVER_SHUTDOWN, Kind.REFUSE, Kind.REST_DOWN,
    Kind.REST_429, Kind.REST_418, Kind.REST_WRONG_JSON, Kind.REST_SLOW,
)  # fmt: skip

# How long each lasts at least and at most, in seconds of venue time.
_SECONDS = {
    Kind.HALF_OPEN: (20, 60),
    Kind.SLOW: (5, 20),
    Kind.GAP: (1, 10),
    Kind.DUPLICATE: (1, 10),
    Kind.REORDER: (1, 10),
    Kind.CLOCK_SKEW: (1, 10),
    Kind.WRONG_JSON: (0.2, 2),
    Kind.REFUSE: (2, 15),
    Kind.QUIET: (15, 90),
    Kind.TLS_FAILURE: (5, 20),
    Kind.REST_DOWN: (2, 20),
    Kind.REST_429: (2, 10),
    Kind.REST_418: (2, 10),
    Kind.REST_WRONG_JSON: (2, 10),
    Kind.REST_SLOW: (2, 10),
}
_ALL_CONNECTIONS = 0.2  # how often a fault strikes all connections instead of one
_SOME_SYMBOLS = 0.5  # how often a fault of messages strikes a few symbols instead of all


def chaos(
    seed: int,
    seconds: float,
    symbols: Sequence[str],
    kinds: Sequence[Kind] = CHAOS,
    mean_gap_seconds: float = 12.0,
) -> tuple[Fault, ...]:
    """Draw faults for `seconds` of venue time: each kind comes before any comes again.

    Faults begin `mean_gap_seconds` apart on average and no sooner than that after the start, and
    all are over by the end, where there is room for them.

    Raises:
        FaultError: no kinds are given.
    """
    if not kinds:
        raise FaultError("chaos needs at least one kind of fault")
    random = Random(seed)  # noqa: S311 - drills are repeated, not guessed
    drawn: list[Fault] = []
    bag: list[Kind] = []
    at = mean_gap_seconds
    while True:
        at += random.uniform(0.2, 1.8) * mean_gap_seconds
        if not bag:
            bag = list(kinds)
            random.shuffle(bag)
        kind = bag.pop()
        least, most = _SECONDS.get(kind, (0, 0))
        lasts = round(random.uniform(least, most), 3)
        target = _target(kind, random, symbols)
        if at + lasts >= seconds:
            return tuple(drawn)
        drawn.append(
            Fault(
                kind=kind,
                at=round(at, 3),
                seconds=lasts,
                target=target,
                delay_seconds=2.0,
                notice_seconds=round(random.uniform(0, 5), 3),
                bytes_per_second=5_000.0,
            )
        )


def _target(kind: Kind, random: Random, symbols: Sequence[str]) -> Target:
    struck: tuple[str, ...] = ()
    if kind in {Kind.GAP, Kind.DUPLICATE, Kind.REORDER, Kind.QUIET, Kind.WRONG_JSON}:
        if random.random() < _SOME_SYMBOLS and symbols:
            struck = tuple(sorted(random.sample(list(symbols), min(3, len(symbols)))))
        return Target(symbols=struck)
    if random.random() < _ALL_CONNECTIONS:
        return Target()
    return Target(pick=random.randrange(1_000_000))
