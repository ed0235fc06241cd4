"""What flows between the stages: frozen messages, made once and never changed.

Times are integers, UNIX nanoseconds UTC: `ts_event` is when it happened at the venue,
`ts_init` when we received it. `offset` is the position in the log, which gives every
message an identity. This module imports nothing of ours.
"""

from enum import StrEnum
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Singles: TypeAlias = NDArray[np.float32]
Flags: TypeAlias = NDArray[np.bool_]

SECOND = 1_000_000_000


class Reason(StrEnum):
    """Why an input was rejected; the names are public, they key counts and stored rows."""

    UNREADABLE = "unreadable"  # no receive time, or broken compression
    TOO_LONG = "too_long"  # a line above the reader's limit
    BAD_RECEIVE_TIME = "bad_receive_time"  # the recorder's clock leapt and came back
    BAD_JSON = "bad_json"
    BAD_TYPE = "bad_type"  # JSON of another shape than the protocol's
    BAD_VALUE = "bad_value"  # not finite or not positive
    UNKNOWN_SYMBOL = "unknown_symbol"  # not in the universe
    DUPLICATE = "duplicate"
    BAD_ID = "bad_id"  # an id that leaps where no confirmation follows
    STALE = "stale"  # venue time far behind receipt
    FUTURE = "future"  # venue time far ahead of receipt
    OUTLIER = "outlier"
    CROSSED = "crossed"
    LATE = "late"  # its bar is already closed by Clock
    OUTSIDE_SESSION = "outside_session"
    COVERED = "covered"  # fetched later for a time that another feed stood in for


class Side(StrEnum):
    """The aggressor's side of a trade."""

    BUY = "buy"
    SELL = "sell"


class BarQuality(StrEnum):
    """How a bar came to be."""

    OBSERVED = "observed"
    QUIET = "quiet"  # no trade: carries the last price
    GAP = "gap"  # the feed was cut
    BACKFILLED = "backfilled"


class Action(StrEnum):
    """What a signal asks for."""

    BUY = "BUY"
    SELL = "SELL"
    HOLD = "HOLD"


class Raw(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One entry of the log as it was received, before decoding."""

    offset: int
    path: str  # which input or feed
    # Whose form the payload has: "binance", "binance_rest", "yahoo", "alpha_vantage", "sbi",
    # "bar", "headline", "mood", "control", "clock", "hole", "switch", "bad".
    kind: str
    ts_init: int
    payload: bytes
    reason: Reason | None = None  # set when the reader itself rejects the entry


class Tick(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A trade."""

    symbol: str
    venue: str
    price: float
    size: float
    ts_event: int
    ts_init: int
    offset: int
    side: Side | None = None
    trade_id: int | None = None
    backfilled: bool = False  # asked for afterwards, because the stream had lost it
    # What the venue tells instead of a size: the volume of the day so far. Quality makes the
    # size of it.
    day_volume: float | None = None


class Quote(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The best bid and ask."""

    symbol: str
    venue: str
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    ts_event: int
    ts_init: int
    offset: int
    update_id: int | None = None


class Bar(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One interval of one symbol, covering [ts_close - interval, ts_close).

    `spread` and `imbalance` are those of the last quote of the interval (price units, and
    (bid size - ask size) / (bid size + ask size)); None where no quote exists.
    `session_index` counts bars from the session's open, `session_left` those still to come
    (None where trading never closes).
    """

    symbol: str
    interval: int  # ns
    ts_close: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int = 0
    quotes: int = 0
    vwap: float
    spread: float | None = None
    imbalance: float | None = None
    quality: BarQuality = BarQuality.OBSERVED
    session_index: int = 0
    session_left: int | None = None
    session_fraction: float = 0.0  # of the session, or of the UTC day, that has passed


class NoBar(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A symbol that has never traded has no bar at this Clock."""

    symbol: str
    ts_close: int


class Clock(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything up to `ts_event` has been seen, apart from late messages."""

    ts_event: int
    shard: int = 0
    feeds: tuple[tuple[str, str], ...] = ()  # (feed, "up" | "quiet" | "cut")
    symbol: str = ""  # whose path this copy rides, once it is fanned out
    offset: int = 0  # in the shard's log on Kafka: where a shard that moves goes on from


class Headline(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A piece of news; the engine may know it from `available_at` on."""

    id: str
    source: str
    lang: str
    symbols: tuple[str, ...]  # empty: the whole market
    text: str
    published_at: int
    available_at: int
    author_hash: str | None = None
    names: dict[str, str] = {}  # by symbol: the words of the text that name it, where known


class ScoredHeadline(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A headline with the sentiment model's calibrated probabilities."""

    headline: Headline
    negative: float
    positive: float
    neutral: float
    model: str  # name and hash, or the word list that answered in a model's place
    # By symbol: (negative, positive, neutral) for whom a name in the text stands.
    each: dict[str, tuple[float, float, float]] = {}


class Mood(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A market-wide mood index, 0 (extreme fear) to 100 (extreme greed)."""

    source: str
    value: float
    available_at: int


class Control(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """An order of an operator to the engine; `operators.orders` says what makes sense.

    "stop" and "resume" are for everything, "mute" and "unmute" for a symbol. "limit" moves the
    limit of that name to `value`, None for the configured one.
    """

    kind: str
    actor: str
    reason: str
    ts_event: int  # when it was given, by the clock of whoever took it
    id: str = ""  # whoever took it gave it this name
    symbol: str | None = None
    limit: str | None = None
    value: float | None = None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A headline, mood or control where it stands in the log.

    It is known to each cross-section that closes after `after`, the last Clock before it.
    """

    after: int
    offset: int
    body: Headline | ScoredHeadline | Mood | Control


class Gap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Trades that the ids prove missing: `first_id` to `last_id`, both inclusive."""

    symbol: str
    venue: str
    first_id: int
    last_id: int
    ts_from: int
    ts_to: int
    filled: int = 0


class HoleState(StrEnum):
    """What is known of a hole in a feed."""

    OPEN = "open"  # nothing comes
    ENDED = "ended"  # messages come again; those missed are still missing
    FILLED = "filled"  # every trade missed has been fetched
    UNFILLED = "unfilled"  # given up, or the venue has no way to ask
    COVERED = "covered"  # another feed stood in from `ts_to` on


class Hole(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A time in which a feed may have lost messages of a symbol, as the feed tells it.

    (feed, symbol, ts_from) names it; what is written of it later replaces what stood there.
    """

    feed: str
    symbol: str
    cause: str  # "cut", "silent", "lag", "ids", "shed", "down" (we were not running)
    ts_from: int  # the last that came before
    ts_to: int | None  # when messages came again
    state: HoleState
    found_at: int
    resolved_at: int | None = None  # when it was filled or given up
    first_id: int | None = None  # of the trades missed, where the venue numbers them
    last_id: int | None = None
    trades: int = 0  # fetched so far
    note: str = ""
    offset: int = 0


class Switch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A symbol changed from one of its feeds to another."""

    symbol: str
    before: str
    after: str
    cause: str  # "start", "cut", "silent", "lag", "well again"
    ts_event: int
    offset: int = 0


class Repaired(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Closed bars of a symbol as they are now known; each takes the place of its first form.

    They are known to the cross-section at `known_at`, which follows, and not before.
    """

    symbol: str
    known_at: int  # ts_close
    bars: tuple[Bar, ...]  # ascending


class Rejection(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An input that was not used, with its reason.

    `payload` is the raw line where it could not be decoded, else the message as JSON.
    """

    reason: Reason
    payload: bytes
    ts_init: int
    offset: int
    symbol: str | None = None


class Tally(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A running count kept in a stage's state; stores keep the last one by (key, name)."""

    key: str
    name: str
    count: int


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol's model input at one bar close."""

    symbol: str
    ts_close: int
    bar: Bar | None
    window: Singles | None  # (WINDOW, features); None until ready
    volatility: float  # standard deviation of one-bar log returns over the last 60 bars
    ready: bool


class CrossSection(msgspec.Struct, frozen=True, kw_only=True):
    """All symbols of a shard at one bar close; rows are in the universe's order."""

    shard: int
    ts_close: int
    interval: int
    symbols: tuple[str, ...]
    bars: tuple[Bar | None, ...]
    features: Singles  # (symbols, WINDOW, features); zeros where not ready
    volatility: Floats  # (symbols,)
    ready: Flags  # (symbols,)
    notices: tuple[Notice, ...] = ()
    repaired: tuple[Repaired, ...] = ()  # what became known since the last, by symbol


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One leg's view of a cross-section; rows as in the cross-section."""

    name: str  # "forecast", "policy", "sentiment"
    ts_close: int
    value: Floats  # (symbols,) in [-1, 1], positive is bullish
    certainty: Floats  # (symbols,) in [0, 1]: rank among the leg's validation outputs
    skill: float  # in [0, 1], measured out of sample (sentiment's is declared)
    abstains: Flags  # (symbols,)
    detail: dict[str, Floats]  # what explain shows: quantiles, probabilities, positions
    model: str  # name and hash


class Fused(msgspec.Struct, frozen=True, kw_only=True):
    """The three legs fused, before risk."""

    cross: CrossSection
    legs: tuple[Leg, ...]
    weights: Floats  # (legs, symbols): effective weights, columns sum to 1 or 0
    score: Floats  # (symbols,) in [-1, 1]
    confidence: Floats  # (symbols,) in [0, 1]
    disagreement: Floats  # (symbols,) in [0, 1]
    offset: int = 0  # where shards hand it to the portfolio by Kafka: its place there


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A risk-checked decision for one symbol at one bar close."""

    signal_id: str
    symbol: str
    ts_close: int
    interval: int
    action: Action
    score: float
    confidence: float
    target_position: float  # signed fraction of equity
    approved: bool
    price: float
    reasons: tuple[str, ...]  # gates that held or changed it, in the order they acted
    detail: dict[str, Any]  # legs, weights, risk steps: JSON-ready


class Holding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One symbol's line of the paper portfolio."""

    symbol: str
    quantity: float
    price: float


class Portfolio(msgspec.Struct, frozen=True, kw_only=True):
    """The paper portfolio after the decisions at `ts_close`."""

    ts_close: int
    cash: float
    equity: float
    gross: float  # fractions of equity
    net: float
    drawdown: float
    var_95: float | None
    var_99: float | None
    costs: float  # fees and slippage paid so far
    trades: int
    buy_and_hold: float  # equity of equal weights bought at the first decision, same costs
    stopped: bool
    holdings: tuple[Holding, ...]
    risk: dict[str, Any]  # limits, Kupiec test, drawdown step: JSON-ready


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Everything decided at one bar close."""

    fused: Fused
    signals: tuple[Signal, ...]
    portfolio: Portfolio


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A signal met its realised return at its horizon."""

    signal_id: str
    symbol: str
    ts_close: int
    horizon_ns: int
    realised_return: float  # log return from the signal's bar close
    score: float
    p_up: float | None
    forecast_value: float | None
    policy_value: float | None
    sentiment_value: float | None
    hit: bool | None  # did the score's sign match; None when either is zero


class Severity(StrEnum):
    """How much an alert asks of the person who reads it."""

    CRITICAL = "critical"  # act now
    WARNING = "warning"  # look today
    INFO = "info"  # nothing to do


class AlertState(StrEnum):
    """What an alert tells."""

    FIRING = "firing"  # its condition has begun to hold, or still does
    RESOLVED = "resolved"  # it holds no longer
    EVENT = "event"  # it happened, and has no end to tell


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Something a person should know; (fingerprint, ts_event, state) names it."""

    fingerprint: str  # of rule and subject: the same each time that it fires
    alert_id: str  # of fingerprint and since: one time that it fires, from begin to end
    rule: str
    severity: Severity
    subject: str  # a symbol, or what else the rule looks at: "portfolio", "models"
    state: AlertState
    summary: str  # one sentence
    facts: dict[str, Any]  # what the rule looked at: JSON-ready
    since: int  # when its condition began to hold
    ts_event: int


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The path state of one stage after `ts_close`; with the stored bars it rebuilds a shard."""

    ts_close: int
    stage: str
    state: bytes


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The state of one stage and key, cut out of the stream behind one bar close."""

    stage: str
    key: str
    ts_close: int
    state: bytes
    # By partition of the input, where it tells: the last entry that is in the state.
    offsets: dict[str, int] = {}


class Commit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All parts of a shard at `ts_close` stand before this: it can go on from there."""

    key: str  # the shard, or "portfolio"
    ts_close: int
    parts: int  # how many there are
    offsets: dict[str, int]  # by partition of the input: the last entry that is in the parts


class Barrier(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The shards that a portfolio decision waits for no longer, written before it acts."""

    ts_close: int
    shards: tuple[int, ...]  # those that were there


Market: TypeAlias = Tick | Quote | Bar


class Skipped(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry of the log that is well formed but of no use to us, by its type."""

    kind: str
    ts_init: int
    offset: int


class DeliveredBar(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A bar as a feed delivered it; the bars stage emits it once its Clock has come."""

    symbol: str
    bar: Bar
    ts_init: int
    offset: int
