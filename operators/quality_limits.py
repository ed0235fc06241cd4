"""When a message is not trusted, with the reason for each default."""

import msgspec

from operators.messages import SECOND


class QualityLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a message is not trusted."""

    interval_ns: int = SECOND
    # How far the recorder's clock ran behind the venue's.
    receive_offset_ns: int = 0
    # Venue time against receipt. Live feeds stay within a second of it; five leave room for
    # a slow link and a recorder whose clock is off.
    stale_ns: int = 5 * SECOND
    future_ns: int = 5 * SECOND
    # Whether a late trade with an id repairs its bar, as if it had been asked for again. Off
    # where Clocks are inferred: there nobody can say when a bar was acted upon.
    repairs_late: bool = False
    # An id further ahead than this is not believed alone: no venue trades that often between
    # two messages; after a pause, that often in each `id_leap_per_ns` of it.
    max_id_leap: int = 100_000
    id_leap_per_ns: int = 10 * SECOND
    id_confirmations: int = 3
    # Update ids count every change of the book: a busy one makes some 30 million a day.
    max_update_leap: int = 1_000_000_000
    # If no single trades came for so long, sums of trades are news again.
    trades_forgotten_ns: int = 10 * SECOND
    # A bar is delivered when it has closed; a second is left for clocks that differ.
    bar_future_ns: int = SECOND
    # A price is an outlier when it moved by more than the floor *and* its move is that many
    # robust deviations from what this symbol does. Two percent from one trade to the next
    # is news even in a thin market; bars span nights and earnings.
    price_floor: float = 0.02
    bar_floor: float = 0.25
    max_deviations: float = 10.0
    # Without prices the floor widens by the square root of time, as far as prices spread, so
    # that a real move during an outage is no outlier; never beyond half the price.
    floor_grows_from_ns: int = 10 * SECOND
    floor_grows_to: float = 0.5
    # So many prices in a row within the floor of each other are the new price.
    price_confirmations: int = 5
    # So many if only one price is known, which may be the wrong one.
    first_confirmations: int = 3
    # So many outliers with no trusted price between them, and it is our notion of this market
    # that is wrong: a thin one that trades from side to side.
    outliers_in_a_row: int = 50
    open_gaps: int = 256  # the oldest is given up first
    # A venue that tells the volume of the day so far has begun a new day when it tells less,
    # so long after it told more.
    session_break_ns: int = 3600 * SECOND
    # If only outdated quotes came for so long, the venue has begun to count anew.
    quote_ids_forgotten_ns: int = 10 * SECOND
