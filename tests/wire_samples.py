"""One message of each type that stands in the log, with what is hard to keep as it is."""

import numpy as np

from operators.messages import (
    Barrier,
    Checkpoint,
    Commit,
    Control,
    CrossSection,
    DeliveredBar,
    Fused,
    Gap,
    Hole,
    HoleState,
    Leg,
    Mood,
    Part,
    Reason,
    Rejection,
    Repaired,
    ScoredHeadline,
    Side,
    Skipped,
    Switch,
    Tally,
)
from tests.support import bar, clock, headline, notice, quote, tick

AWKWARD = (0.1 + 0.2, 1e-320, -0.0, 61_234.000000000007, 2.0**-1074, 1.7976931348623157e308)


def scored():
    """Return a headline with its score."""
    return ScoredHeadline(
        headline=headline("東京 “up” \u2028 2 %"),
        negative=0.1,
        positive=0.7,
        neutral=0.2,
        model="m@1",
    )


def fused(symbols=2):
    """Return a fused cross-section with NaN, infinity and every kind of notice."""
    floats = np.array([AWKWARD[row % len(AWKWARD)] for row in range(symbols)])
    features = np.linspace(-1, 1, symbols * 6, dtype=np.float32).reshape(symbols, 2, 3)
    features[0, 0, 0] = np.nan
    leg = Leg(
        name="forecast",
        ts_close=5,
        value=floats,
        certainty=np.full(symbols, np.inf),
        skill=0.1,
        abstains=np.arange(symbols) % 2 == 0,
        detail={"p_up": np.full(symbols, np.nan), "q": np.arange(2.0 * symbols).reshape(2, -1)},
        model="m@1",
    )
    cross = CrossSection(
        shard=3,
        ts_close=5,
        interval=1,
        symbols=tuple(f"S{row}" for row in range(symbols)),
        bars=(bar(), None),
        features=features,
        volatility=floats,
        ready=np.ones(symbols, bool),
        notices=(
            notice(headline()),
            notice(scored(), offset=2),
            notice(Mood(source="a", value=5.0, available_at=1)),
            notice(Control(kind="stop", actor="me", reason="r", ts_event=1)),
        ),
        repaired=(Repaired(symbol="S0", known_at=5, bars=(bar(), bar(ts_close=2))),),
    )
    return Fused(
        cross=cross,
        legs=(leg,),
        weights=np.ones((1, symbols)),
        score=floats,
        confidence=floats,
        disagreement=floats,
    )


def samples():
    """Return messages of all types, some of them twice."""
    return [
        *(tick(price=price, side=Side.BUY, trade_id=2**62) for price in AWKWARD),
        tick(symbol='a"\\\u0000é', day_volume=1.5, backfilled=True),
        quote(update_id=7),
        DeliveredBar(symbol="A", bar=bar(spread=0.1, session_left=3), ts_init=1, offset=2),
        clock(ts_event=5, feeds=(("binance", "up"), ("yahoo", "cut"))),
        *fused().cross.notices,
        Hole(
            feed="f", symbol="A", cause="cut", ts_from=1, ts_to=None, state=HoleState.OPEN,
            found_at=2,
        ),
        Switch(symbol="A", before="a", after="b", cause="cut", ts_event=4, offset=9),
        Rejection(reason=Reason.BAD_JSON, payload=b"\xff\x00{", ts_init=1, offset=1),
        Skipped(kind="depthUpdate", ts_init=1, offset=2),
        Tally(key="a", name="b", count=3),
        Gap(symbol="A", venue="v", first_id=1, last_id=9, ts_from=1, ts_to=2, filled=3),
        bar(),
        Repaired(symbol="A", known_at=5, bars=(bar(),)),
        Checkpoint(ts_close=1, stage="risk", state=bytes(range(256))),
        fused(),
        Part(stage="risk", key="", ts_close=5, state=b"\x80\x00", offsets={"3": 7}),
        Commit(key="3", ts_close=5, parts=2, offsets={"3": 7}),
        Barrier(ts_close=5, shards=(0, 2)),
    ]  # fmt: skip
