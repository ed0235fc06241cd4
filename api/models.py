"""The API's answers and orders, as the world sees them; stores have their own rows.

Times are UNIX nanoseconds UTC. Those of bar closes are whole seconds, which a double of
JavaScript holds exactly.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

T = 1_723_161_600_000_000_000  # of the examples
Ns = Annotated[int, Field(ge=0, le=2**63 - 1, examples=[T])]
Symbol = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._^=:/-]{0,63}$", examples=["BTCUSDT"])
]
SignalId = Annotated[
    str, Field(pattern=r"^[0-9a-f]{32}$", examples=["a655ea8a64c4c56ef685e20ab9a6a5fa"])
]
Reason = Annotated[
    str,
    Field(
        min_length=1,
        max_length=500,
        pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$",
        description="Why, for the audit record: at least one visible character, no control ones.",
        examples=["news of an exchange outage"],
    ),
]
Severity = Literal["critical", "warning", "info"]
Fingerprint = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{16}$",
        description="Of rule and subject: the same each time that it fires.",
        examples=["49a7f0283a0a20c6"],
    ),
]
Pattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9 ._^=:/@*?-]{1,64}$", examples=["BTC*"])]
Action = Literal["BUY", "SELL", "HOLD"]
LimitName = Literal["position_limit", "cluster_limit", "gross_limit", "net_limit", "var_limit"]


class Answer(BaseModel):
    """What the API says."""

    model_config = ConfigDict(frozen=True)


class Request(BaseModel):
    """What the API is told; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Problem(Answer):
    """Every error, by RFC 9457."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(ge=400, le=599, examples=[404])
    detail: str = Field(examples=["there is no such signal"])
    instance: str = Field("", examples=["/api/v1/signals/ffff"])
    errors: list[dict[str, Any]] = Field(
        default_factory=list, description="Of a request that is not as described: where and why."
    )
    components: list["Component"] = Field(
        default_factory=list, description="Of an engine that is not ready: what each part does."
    )


# ------------------------------------------------------------------------- health, run


class Live(Answer):
    """This process answers."""

    status: Literal["live"] = "live"


class Component(Answer):
    """One part of the engine."""

    name: str = Field(examples=["flow"])
    state: Literal["up", "quiet", "starting", "stopped", "cut", "down"] = Field(examples=["up"])
    note: str = Field("", examples=[""])
    seconds_old: float | None = Field(
        None, description="Since it was last heard of.", examples=[0.4]
    )


class Health(Answer):
    """Whether the engine can be asked and ordered, part by part."""

    status: Literal["ready", "degraded"] = Field(examples=["ready"])
    components: list[Component]


class FusionSettings(Answer):
    """What fusion and entry weigh by: enough to say what another setting would have done."""

    forecast: float = Field(examples=[0.4])
    policy: float = Field(examples=[0.4])
    sentiment: float = Field(examples=[0.2])
    entry_score: float = Field(examples=[0.6])
    exit_score: float = Field(examples=[0.1])
    minimum_confidence: float = Field(examples=[0.02])


class Run(Answer):
    """The run that the store holds."""

    run_id: str = Field(examples=["5d0c"], description="Empty where the store does not keep it.")
    profile: str | None = Field(examples=["demo"])
    started: Ns | None
    finished: Ns | None
    running: bool = Field(description="Whether a process that runs it was heard of just now.")
    simulated: bool = Field(description="The market is a simulator's.")
    interval: int = Field(description="Of bars, ns.", examples=[10**9])
    last_close: Ns | None
    symbols: list[str] = Field(examples=[["BTCUSDT", "ETHUSDT"]])
    models: list[str] = Field(examples=[["forecast_1s@fde98f9c826c"]])
    settings: FusionSettings | None
    store: str = Field(examples=["sqlite"])


# -------------------------------------------------------------------------- the market


class Bar(Answer):
    """One interval of one symbol, in the form known last."""

    ts_close: Ns
    open: float | None
    high: float | None
    low: float | None
    close: float | None = Field(examples=[61713.46])
    volume: float | None
    vwap: float | None
    trades: int | None
    spread: float | None
    imbalance: float | None
    quality: Literal["observed", "quiet", "gap", "backfilled"]
    known_at: Ns | None = Field(None, description="Where it was repaired: when that was known.")


class Bars(Answer):
    """A symbol's bars, oldest first."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: int = Field(examples=[10**9])
    bars: list[Bar]
    next: str | None = Field(None, description="Cursor of the bars before these.")


class SymbolState(Answer):
    """A symbol, where its price is, and how it got there."""

    symbol: str = Field(examples=["BTCUSDT"])
    ts_close: Ns | None
    price: float | None = Field(examples=[61713.46])
    quality: str | None = Field(examples=["observed"])
    change: float | None = Field(
        description="Of the price over the sparkline, as a share.", examples=[-0.0021]
    )
    sparkline: list[float | None] = Field(
        description="Closes, oldest first.", examples=[[61722.1, 61713.46]]
    )
    muted: bool


class Symbols(Answer):
    """Every symbol of the run."""

    symbols: list[SymbolState]


# ------------------------------------------------------------------------- the signals


class LegBrief(Answer):
    """What a leg said, and how much it weighed."""

    value: float | None = Field(examples=[0.36])
    weight: float = Field(examples=[0.94])
    abstains: bool


class SignalBrief(Answer):
    """A decision on one symbol at one bar close."""

    signal_id: str = Field(examples=["a655ea8a64c4c56ef685e20ab9a6a5fa"])
    symbol: str = Field(examples=["BTCUSDT"])
    ts_close: Ns
    interval: int = Field(examples=[10**9])
    action: Action
    score: float | None = Field(examples=[0.304])
    confidence: float | None = Field(examples=[0.153])
    disagreement: float | None = Field(examples=[0.224])
    position: float | None = Field(description="Held before, as a share of equity.", examples=[0.0])
    target_position: float | None = Field(examples=[0.05])
    approved: bool
    price: float | None = Field(examples=[61713.46])
    quality: str | None = Field(examples=["observed"])
    reasons: list[str] = Field(examples=[["below_threshold"]])
    legs: dict[str, LegBrief]


class Signals(Answer):
    """Signals; of a listing the newest first."""

    signals: list[SignalBrief]
    next: str | None = Field(None, description="Cursor of what follows.")


class Leg(LegBrief):
    """A leg in full."""

    certainty: float | None
    skill: float
    confidence: float
    model: str = Field(examples=["forecast_1s@fde98f9c826c"])
    detail: dict[str, float | None]


class RiskStep(Answer):
    """What one step of risk did to the weight."""

    step: str = Field(examples=["symbol_limit"])
    before: float
    after: float
    why: str = Field(examples=["at most 0.2"])


class Costs(Answer):
    """What the trade cost, in quote currency, and its rates."""

    fee_bps: float
    slippage_bps: float
    paid: float


class Signal(SignalBrief):
    """A decision with everything that made it."""

    legs: dict[str, Leg]  # type: ignore[assignment] # a fuller form of the same
    risk: list[RiskStep]
    costs: Costs
    config_hash: str
    models: list[str]


class Headline(Answer):
    """A headline, or a mood index, as the engine knew it; authors are not told."""

    ts_known: Ns = Field(description="When the engine could know of it.")
    after: Ns = Field(description="The Clock that it stands behind: later closes know it.")
    kind: Literal["headline", "mood"]
    source: str = Field(examples=["coindesk"])
    text: str | None = Field(examples=["Bitcoin rises"])
    symbols: list[str]
    language: str | None = Field(None, examples=["en"])
    published_at: Ns | None = None
    positive: float | None = None
    negative: float | None = None
    neutral: float | None = None
    value: float | None = Field(None, description="Of a mood index, 0 to 100.")


class Headlines(Answer):
    """Headlines and moods, the newest first."""

    headlines: list[Headline]
    next: str | None = None


class Outcome(Answer):
    """A signal met its realised return."""

    signal_id: str
    symbol: str
    ts_close: Ns
    horizon_ns: int
    realised_return: float | None
    score: float | None
    p_up: float | None
    forecast_value: float | None
    policy_value: float | None
    sentiment_value: float | None
    hit: bool | None


class Outcomes(Answer):
    """Outcomes, the newest signals' first."""

    outcomes: list[Outcome]
    next: str | None = None


class Explanation(Answer):
    """Why a signal was given, of what the store holds; `nextgen explain` decides it again."""

    signal: Signal
    bars: list[Bar] = Field(description="The last ones before it, as they were known then.")
    headlines: list[Headline] = Field(description="What news it could know, the latest first.")
    outcome: Outcome | None
    portfolio: "PortfolioBrief | None" = Field(description="After the decisions of that close.")
    settings: FusionSettings | None


class WhatIf(Answer):
    """What fusion and entry would have said, of stored values; risk's limits are not asked."""

    signal_id: str
    dropped: list[str]
    score: float
    confidence: float
    weights: dict[str, float]
    entry_score: float
    minimum_confidence: float
    verdict: Literal[
        "confirmed", "abstained", "below_threshold", "low_confidence", "no_trade_band",
        "exit_threshold",
    ]  # fmt: skip
    stands: bool = Field(description="Whether the verdict is the one that was given.")


# -------------------------------------------------------------------- portfolio, risk


class Holding(Answer):
    """One line of the paper portfolio."""

    symbol: str
    quantity: float
    price: float
    value: float
    weight: float = Field(description="Share of equity.")


class PortfolioBrief(Answer):
    """The money of the paper portfolio after the decisions of a bar close."""

    ts_close: Ns
    cash: float
    equity: float
    gross: float
    net: float
    drawdown: float
    var_95: float | None
    var_99: float | None
    costs: float
    trades: int
    buy_and_hold: float
    stopped: bool


class Portfolio(PortfolioBrief):
    """The paper portfolio with what it holds."""

    holdings: list[Holding]


class PortfolioHistory(Answer):
    """The portfolio over time, oldest first."""

    points: list[PortfolioBrief]
    every: int = Field(description="Nanoseconds between two points, where all are there.")


class Order(Answer):
    """An operator's order: the audit record."""

    id: str = Field(examples=["0f7c2a8e5b1d4c6f"])
    kind: Literal["stop", "resume", "mute", "unmute", "limit"]
    actor: str = Field(examples=["key:ann"])
    reason: str
    posted_at: Ns
    symbol: str | None = None
    limit: str | None = None
    value: float | None = None
    state: Literal["posted", "in_force"] = Field(
        description="posted: on its way. in_force: in the log, and in the store's record."
    )
    log_offset: int | None = Field(None, description="Its place in the log.")
    after: Ns | None = Field(None, description="The Clock that it stands behind.")


class Orders(Answer):
    """Orders, the newest first."""

    orders: list[Order]


class Limit(Answer):
    """A limit, what is used of it, and how far an operator may move it."""

    name: str = Field(examples=["gross_limit"])
    value: float = Field(description="What counts now.")
    most: float | None = Field(description="What is configured: an order may not go above it.")
    used: float | None
    headroom: float | None = Field(description="Share of the limit that is free.")
    adjustable: bool


class Risk(Answer):
    """Risk as of the last decision."""

    ts_close: Ns
    stopped: bool
    stop: Order | None = Field(description="Who stopped trading, why and when.")
    muted: list[Order]
    limits: list[Limit]
    drawdown: float
    drawdown_rung: int = Field(description="Of the ladder: 0 is full size, 3 is flat.")
    drawdown_multiplier: float
    var_95: float | None
    var_99: float | None
    kupiec: dict[str, dict[str, float | None]]
    volatile: list[str]
    clusters: list[list[str]]
    fired: list[str] = Field(description="Limits that acted at this close.")


class Correlation(Answer):
    """How the symbols' one-bar log returns move together."""

    symbols: list[str]
    bars: int = Field(description="Over how many.")
    matrix: list[list[float | None]] = Field(description="Null where a price did not move.")


# ----------------------------------------------------------------------------- models


class Calibration(Answer):
    """Forecasts of one range of P(up), and how often it was up."""

    low: float
    high: float
    n: int
    forecast: float | None
    realised: float | None


class LegAccuracy(Answer):
    """How often a leg's sign met the realised return's, and its rank correlation with it."""

    n: int
    hits: int
    hit_rate: float | None
    interval: tuple[float, float] = Field(
        description="Wilson, 95 %, as if independent: horizons overlap, so it is too narrow."
    )
    ic: float | None = Field(description="Spearman, over all symbols and closes of the span.")


class AccuracyPoint(Answer):
    """The score's hit rate within one stretch of time."""

    since: Ns
    n: int
    hit_rate: float | None
    abstained: float | None = Field(description="Share of signals without a forecast.")


class Accuracy(Answer):
    """How right the signals of a span were, whose horizon has come."""

    since: Ns
    until: Ns
    symbol: str | None
    legs: dict[str, LegAccuracy]
    calibration: list[Calibration]
    over_time: list[AccuracyPoint]


class Coverage(Answer):
    """Where returns fell whose intervals the whole run followed, one at a time a symbol."""

    n: int
    below: int
    above: int
    coverage: float | None = Field(description="The share within.", examples=[0.79])
    interval: tuple[float, float] = Field(description="Wilson, 95 %.")
    promised: float = Field(examples=[0.8])


class DriftPoint(Answer):
    """How strange the forecast's inputs were within one stretch of time.

    Medians in shares of the limits beyond which it abstains; 1 is as strange as one in a thousand
    of what it learned.
    """

    since: Ns
    n: int
    strange: float = Field(description="The share beyond either limit.")
    hidden: float = Field(description="Of the last hidden state.")
    tokens: float = Field(description="Of the features.")


class Drift(Answer):
    """How far what the forecast meets is from what it learned."""

    since: Ns
    until: Ns
    symbol: str | None
    n: int = Field(description="Forecasts that were looked at, evenly thinned if they are many.")
    strange: float | None = Field(description="The share of them beyond either limit.")
    intervals: Coverage
    over_time: list[DriftPoint]


class Model(Answer):
    """A trained artefact of the manifest."""

    name: str = Field(examples=["forecast_1s"])
    version: str = Field(description="First digits of its hash.", examples=["fde98f9c826c"])
    kind: str | None = Field(examples=["forecast"])
    file: str
    interval_ns: int | None
    schema_hash: str | None
    skill: dict[str, Any]
    in_use: bool = Field(description="The run's signals are made by it.")


class Models(Answer):
    """All artefacts, and what the run uses."""

    models: list[Model]
    run: list[str] = Field(description="Names and hashes that the run began with.")


class ModelDetail(Model):
    """A model with its whole manifest entry."""

    manifest: dict[str, Any]


# ------------------------------------------------------------------- losses, the system


class Hole(Answer):
    """A time in which a feed may have lost messages."""

    feed: str
    symbol: str
    cause: str
    state: str
    ts_from: Ns
    ts_to: Ns | None
    found_at: Ns
    resolved_at: Ns | None
    first_id: int | None
    last_id: int | None
    trades: int = Field(description="That were fetched.")
    note: str


class Holes(Answer):
    """Holes, the newest first."""

    holes: list[Hole]
    next: str | None = None


class Gap(Answer):
    """Trades that ids prove missing."""

    symbol: str
    venue: str
    first_id: int
    last_id: int
    ts_from: Ns | None
    ts_to: Ns | None
    missing: int
    filled: int


class Gaps(Answer):
    """Gaps, the newest first."""

    gaps: list[Gap]
    next: str | None = None


class Rejection(Answer):
    """An input that was refused; its payload stays in the store."""

    log_offset: int
    reason: str
    symbol: str | None
    ts_init: Ns
    payload_bytes: int | None


class Rejections(Answer):
    """Refused input, the last first, and how much in all by reason."""

    rejections: list[Rejection]
    counts: dict[str, int]
    next: str | None = None


# ------------------------------------------------------------------------------ alerts


class Alert(Answer):
    """One thing that was told of something a person should know."""

    fingerprint: Fingerprint
    alert_id: str = Field(
        description="One time that it fires, from begin to end.",
        examples=["49a7f0283a0a20c6-1723161600000000000"],
    )
    rule: str = Field(examples=["data_cut"])
    severity: Severity
    subject: str = Field(examples=["BTCUSDT"])
    state: Literal["firing", "resolved", "event"] = Field(
        description="event: it happened, and has no end.", examples=["firing"]
    )
    summary: str = Field(examples=["BTCUSDT: no data for 15 s"])
    facts: dict[str, Any] = Field(examples=[{"seconds": 15.0, "ever": True}])
    since: Ns = Field(description="When its condition began to hold.")
    ts_event: Ns
    simulated: bool
    source: Literal["stream", "process"] = Field(
        description="process: seen beside the stream; no replay gives it again."
    )


class Alerts(Answer):
    """What was told, the newest first."""

    alerts: list[Alert]
    next: str | None = None


class FiringAlert(Alert):
    """What fires now, as it was told last."""

    acknowledged_by: str | None = Field(examples=["key:ann"])
    acknowledged_at: Ns | None
    silenced: bool = Field(description="Whether a silence keeps people from it.")


class Firing(Answer):
    """All that fires now, the longest first."""

    alerts: list[FiringAlert]


class Delivery(Answer):
    """A message to people."""

    delivery_id: str = Field(examples=["0b1c8a7e5d3f4a21"])
    target: str = Field(examples=["mail"])
    severity: Severity
    made_at: Ns
    title: str = Field(examples=["[critical] demo: data_cut (1)"])
    body: str
    alerts: int = Field(description="That it stands for.", examples=[1])
    state: Literal["pending", "delivered", "failed"] = Field(examples=["delivered"])
    attempts: int = Field(examples=[1])
    tried_at: Ns | None
    error: str = Field(description="Of the last attempt, without secrets.", examples=[""])


class Deliveries(Answer):
    """Messages to people, the newest first."""

    deliveries: list[Delivery]
    next: str | None = None


class Silence(Answer):
    """Alerts that nobody is told of for a while; each pattern as a shell has it."""

    silence_id: str = Field(examples=["0b1c8a7e5d3f4a21"])
    rule: str = Field(examples=["data_*"])
    severity: str = Field(examples=["*"])
    subject: str = Field(examples=["BTC*"])
    made_at: Ns
    until: Ns
    actor: str = Field(examples=["key:ann"])
    reason: str


class Silences(Answer):
    """Silences that last, the one that ends first in front."""

    silences: list[Silence]


class Acknowledgement(Answer):
    """Who has seen what fires."""

    alert_id: str
    fingerprint: Fingerprint
    actor: str = Field(examples=["key:ann"])
    at: Ns


class SilenceRequest(Request):
    """Tell nobody of some alerts for a while; `*` and `?` stand for anything."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"subject": "BTC*", "seconds": 3600, "reason": "the venue is at work"}]
        }
    )
    rule: Pattern = "*"
    severity: Pattern = "*"
    subject: Pattern = "*"
    seconds: Annotated[int, Field(ge=1, le=30 * 86_400, description="How long from now.")]
    reason: Reason


class AcknowledgeRequest(Request):
    """Say that what fires was seen."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"fingerprint": "49a7f0283a0a20c6"}]})
    fingerprint: Fingerprint


class FeedState(Answer):
    """How a feed did last."""

    feed: str
    at: Ns
    state: str
    note: str
    counts: dict[str, float]
    gauges: dict[str, float | None]


class StageTime(Answer):
    """How long a stage takes for a message, ms."""

    count: int | None
    p50_ms: float
    p99_ms: float


class Metrics(Answer):
    """How the system does."""

    at: Ns
    run: dict[str, Any] | None = Field(description="The run's own pulse, if it is on this machine.")
    stages: dict[str, StageTime]
    feeds: list[FeedState]
    tallies: dict[str, int]
    rejected: dict[str, int]
    api: dict[str, float]


# ---------------------------------------------------------------------- orders, access


class StopRequest(Request):
    """Close everything and approve nothing more."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "exchange outage"}]})
    reason: Reason


class ResumeRequest(Request):
    """Trade again after a stop; `confirm` must say so."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "outage is over", "confirm": "resume"}]}
    )
    reason: Reason
    confirm: Literal["resume"]


class MuteRequest(Request):
    """Let a symbol open or grow no position, or end that."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"symbol": "BTCUSDT", "reason": "odd prints"}]}
    )
    symbol: Symbol
    reason: Reason


class LimitRequest(Request):
    """Move a limit, up to the configured one; null is the configured one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"limit": "gross_limit", "value": 0.5, "reason": "a nervous day"}]
        }
    )
    limit: LimitName
    value: Annotated[float, Field(gt=0.0, le=1000.0, allow_inf_nan=False)] | None
    reason: Reason


class LoginRequest(Request):
    """Begin a browser's session with an API key."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"key": "nx_0123456789ab_" + "A" * 43}]}
    )
    key: str = Field(max_length=200)


class Session(Answer):
    """Who asks, and what they may."""

    name: str = Field(examples=["ann"])
    scope: Literal["read", "operate", "admin"]
    via: Literal["key", "session", "local"] = Field(
        description="local: this machine's own, where no keys are set up."
    )
    csrf: str | None = Field(
        description="To be sent as X-CSRF-Token with every order of this session."
    )
    expires: Ns | None


# -------------------------------------------------------------------------------- push


class FrameBar(Answer):
    """A bar in a frame."""

    symbol: str
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None
    quality: str


class Frame(Answer):
    """What one bar close brought; the push's `frame` event."""

    ts_close: Ns
    skipped: int = Field(description="Closes since the frame before that have none of their own.")
    bars: list[FrameBar] | None = None
    signals: list[SignalBrief] | None = None
    trades: list[SignalBrief] | None = Field(
        None, description="Signals that bought or sold since the frame before."
    )
    portfolio: PortfolioBrief | None = None
    outcomes: list[Outcome] | None = None
    headlines: list[Headline] | None = None
    orders: list[Order] | None = None


class AlertsNow(Answer):
    """What fires now."""

    firing: int = Field(description="How many.")
    unseen: dict[Severity, int] = Field(description="Neither acknowledged nor silenced.")
    worst: list[FiringAlert] = Field(description="The worst of them, the longest first.")


class Status(Answer):
    """How all parts do; the push's `status` event."""

    status: Literal["ready", "degraded", "unready"]
    components: list[Component]
    last_close: Ns | None
    alerts: AlertsNow | None = Field(description="None where the store keeps no alerts.")


for _each in (Problem, Explanation):
    _each.model_rebuild()
