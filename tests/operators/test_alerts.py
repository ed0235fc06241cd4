"""The rules, each seen to fire and to clear on what the stream brings."""

import random

import msgspec
import pytest

from operators.alert_accuracy import hit_rate
from operators.alert_settings import AlertRules
from operators.alerts import Alerts
from operators.messages import (
    SECOND,
    Action,
    Alert,
    AlertState,
    BarQuality,
    Holding,
    Severity,
    Tally,
)
from operators.stage import freeze, thaw
from tests.desk import Desk, order
from tests.stores import decision, outcome, signal

FIRING, RESOLVED, EVENT = AlertState.FIRING, AlertState.RESOLVED, AlertState.EVENT
STEPS = (0.05, 0.10, 0.15)
QUICK = {"clear_seconds": 2.0, "data_cut_seconds": 3.0, "no_data_seconds": 5.0}


def stage(**rules):
    return Alerts(AlertRules(**QUICK | rules), STEPS)


def run(alerts, *messages):
    return [each for message in messages for each in alerts.on(message) if isinstance(each, Alert)]


def told(alerts):
    return [(alert.rule, alert.subject, alert.state) for alert in alerts]


def judged(desk, alerts, **fields):
    """Close a bar at the desk; return the alerts of rules that hold or not."""
    found = [each for message in desk.results(**fields) for each in run(alerts, message)]
    return [each for each in found if each.state is not EVENT]


def test_a_stop_is_critical_until_it_is_taken_back():
    desk, alerts = Desk(("A",)), stage()
    judged(desk, alerts)
    (begun,) = judged(desk, alerts, notices=(order("stop", "ann", "storm"),))
    kept = [judged(desk, alerts) for _ in range(5)]
    ended = [
        judged(desk, alerts, notices=(order("resume"),)),
        *(judged(desk, alerts) for _ in "ab"),
    ]

    assert (begun.rule, begun.severity) == ("emergency_stop", Severity.CRITICAL)
    assert begun.summary == "emergency stop by ann: storm"
    assert begun.facts == {"actor": "ann", "reason": "storm"}
    assert kept == [[]] * 5
    assert [told(each) for each in ended if each] == [[("emergency_stop", "portfolio", RESOLVED)]]


def test_a_stop_before_anything_is_decided_is_told():
    desk, alerts = Desk(("A",)), stage()
    (begun,) = judged(desk, alerts, ready=False, notices=(order("stop", "ann", "storm"),))
    assert begun.summary == "emergency stop by ann: storm"
    assert judged(desk, alerts) == []  # risk says the same of it


def test_data_that_are_cut_are_critical_by_symbol():
    desk, alerts = Desk(("A", "B")), stage()
    cut = (BarQuality.GAP, BarQuality.OBSERVED)
    found = [judged(desk, alerts, quality=quality) for quality in [BarQuality.OBSERVED, *[cut] * 5]]
    ended = [judged(desk, alerts) for _ in range(3)]

    assert [told(each) for each in found if each] == [[("data_cut", "A", FIRING)]]
    (begun,) = found[3]
    assert begun.severity is Severity.CRITICAL
    assert begun.since == 1 * SECOND  # when the last good bar closed
    assert begun.summary == "A: no data for 3 s"
    assert [told(each) for each in ended if each] == [[("data_cut", "A", RESOLVED)]]


def test_a_short_cut_and_a_quiet_market_are_no_news():
    desk, alerts = Desk(("A",)), stage()
    gap, quiet = BarQuality.GAP, BarQuality.QUIET
    assert all(
        judged(desk, alerts, quality=quality) == []
        for quality in [gap, gap, *[quiet] * 9, gap, gap]
    )


def test_data_that_never_came_are_told_later_than_a_cut():
    desk, alerts = Desk(("A", "B")), stage()
    found = [judged(desk, alerts, missing=("B",)) for _ in range(6)]
    assert [told(each) for each in found if each] == [[("data_cut", "B", FIRING)]]
    assert found[4][0].summary == "B: no data yet for 5 s"


def test_a_drawdown_near_its_limit_is_a_warning():
    alerts = stage()
    levels = [0.11, 0.119, 0.12, 0.15, 0.13, 0.11, 0.11, 0.11]
    found = [
        told(run(alerts, decision(ts_close=s * SECOND, drawdown=level)))
        for s, level in enumerate(levels)
    ]
    assert found[2] == [("drawdown", "portfolio", FIRING)]  # 80 % of 15 %
    assert found[6] == [("drawdown", "portfolio", RESOLVED)]
    assert sum(map(len, found)) == 2


def test_positions_that_open_grow_turn_and_close_are_told():
    alerts = stage()

    def holds(seconds, quantity):
        held = (Holding(symbol="A", quantity=quantity, price=100.0),) if quantity else ()
        return decision(ts_close=seconds * SECOND, holdings=held, equity=10_000.0)

    quantities = [0.0, 10.0, 10.0, 12.0, 16.0, -16.0, 0.0, 0.0]
    found = [run(alerts, holds(s, quantity)) for s, quantity in enumerate(quantities)]

    assert [[each.summary for each in some] for some in found] == [
        [],
        ["A: opened long, now +10.0% of equity"],
        [],
        [],  # 2 % of equity more
        ["A: increased, now +16.0% of equity"],
        ["A: turned short, now -16.0% of equity"],
        ["A: closed"],
        [],
    ]
    assert {(each.severity, each.state) for some in found for each in some} == {
        (Severity.INFO, EVENT)
    }


def test_a_position_that_stays_as_it_is_is_no_news_though_every_change_is():
    alerts = stage(position_change=0.0)

    def holds(seconds, quantity):
        held = (Holding(symbol="A", quantity=quantity, price=100.0),)
        return decision(ts_close=seconds * SECOND, holdings=held, equity=10_000.0)

    found = [run(alerts, holds(s, quantity)) for s, quantity in enumerate([10.0, 10.0, 10.1])]
    assert [len(some) for some in found] == [1, 0, 1]


def test_strong_signals_are_told_once_until_they_have_faded():
    alerts = stage()
    scores = [0.7, 0.85, 0.9, 0.7, 0.85, 0.5, 0.85, -0.85]
    found = [
        run(
            alerts,
            decision(
                signal("A", s * SECOND, score=score, action=_side(score)), ts_close=s * SECOND
            ),
        )
        for s, score in enumerate(scores)
    ]
    assert [len(each) for each in found] == [0, 1, 0, 0, 0, 0, 1, 1]
    assert found[1][0].facts["signal_id"] == f"A-{SECOND}"
    assert found[-1][0].summary == "A: SELL, score -0.85, confidence 0.50"


def _side(score):
    return Action.BUY if score > 0 else Action.SELL


@pytest.mark.parametrize("change", [{"approved": False}, {"action": Action.HOLD}])
def test_a_signal_that_nobody_acts_on_is_no_news(change):
    strong = signal(score=0.9, **change)
    assert run(stage(), decision(strong)) == []


def outcomes(hits, *, symbols=5, horizon=60):
    """Yield outcomes of a cross-section each second: `hits(second)` says whether all hit."""
    for second, hit in enumerate(hits):
        for number in range(symbols):
            yield outcome(
                signal(str(number), second * SECOND), hit=hit, horizon_ns=horizon * SECOND
            )


def test_a_hit_rate_that_is_surely_below_a_coin_is_a_warning_and_recovers():
    draw = random.Random(7)
    alerts = stage(accuracy_spans=25, accuracy_least=20)
    bad = run(alerts, *outcomes(draw.random() < 0.40 for _ in range(4000)))
    good = []
    for message in outcomes(draw.random() < 0.60 for _ in range(4000, 9000)):
        later = msgspec.structs.replace(message, ts_close=message.ts_close + 4000 * SECOND)
        good += run(alerts, later)

    assert told(bad)[0] == ("accuracy_drop", "models", FIRING)
    assert bad[0].ts_event >= 20 * 120 * SECOND  # not from less than twenty spans
    assert bad[0].facts["high"] < 0.5
    assert told(good)[-1] == ("accuracy_drop", "models", RESOLVED)


def test_a_coin_is_seldom_taken_for_worse_even_if_all_symbols_move_as_one():
    """Of 12 days of coins, looked at every two minutes, few alarm."""
    alarms = 0
    for day in range(12):
        draw = random.Random(day)
        alerts, falls = stage(), 0
        for span in range(720):
            # Fifty symbols over two horizons are no more than four throws.
            hits = sum(draw.random() < 0.5 for _ in range(4)) * 1500
            alerts.state.spans = [*alerts.state.spans, (hits, 6000)][-60:]
            falls += len(list(alerts._accuracy(span * 120 * SECOND)))
        alarms += falls > 0
    assert alarms <= 1


def test_the_interval_of_spans_is_wider_than_that_of_coin_tosses():
    found = hit_rate([(0, 100), (100, 100)] * 10, 2.0)
    assert found.high - found.rate > 2 * 2 * (0.25 / 2000) ** 0.5


def test_an_unknown_hit_is_not_counted():
    alerts = stage()
    assert run(alerts, outcome(signal(), hit=None)) == []
    assert alerts.state.filling == (0, 0)


def test_what_is_kept_back_is_counted_in_a_tally():
    alerts = stage(rule_per_minute=1, total_per_minute=1)
    signals = [signal(name, score=0.9) for name in "ABC"]
    out = list(alerts.on(decision(*signals)))
    assert [each for each in out if isinstance(each, Tally)] == [
        Tally(key="alerts", name="signal", count=2)
    ]


def test_10_000_events_are_bounded_and_nothing_critical_is_lost():
    symbols = tuple(f"S{number}" for number in range(500))
    desk, alerts = Desk(symbols), Alerts(AlertRules(), STEPS)
    found, critical, events = [], set(), 0
    for second in range(40):
        gone = second >= 20
        fused = desk.fused(quality=BarQuality.GAP if gone else BarQuality.OBSERVED)
        ts_close = fused.cross.ts_close
        sign = 1 if second % 2 else -1
        signals = [signal(each, ts_close, score=0.9 * sign, action=_side(sign)) for each in symbols]
        made = msgspec.structs.replace(
            decision(*signals, ts_close=ts_close, stopped=second == 30,
                     risk={"stop": {"actor": "a", "reason": "b"}}),
            fused=fused,
        )  # fmt: skip
        events += len(signals)
        found += run(alerts, made)
    critical = {(each.rule, each.subject) for each in found if each.severity is Severity.CRITICAL}
    others = [each for each in found if each.severity is not Severity.CRITICAL]

    assert events == 20_000
    assert critical == {("emergency_stop", "portfolio"), *(("data_cut", s) for s in symbols)}
    assert len(others) <= 20 + 20  # the limit of a rule, at once and in the minute
    assert sum(alerts.state.book.kept_back.values()) == events - len(others)


def test_alerts_go_on_after_a_restart_as_without_one():
    def messages():
        desk = Desk(("A", "B"))
        qualities = [BarQuality.OBSERVED] * 3 + [BarQuality.GAP] * 10 + [BarQuality.OBSERVED] * 10
        for number, quality in enumerate(qualities):
            notices = (order("stop"),) if number == 4 else ()
            yield from desk.results(quality=quality, scores=(0.9, -0.9), notices=notices)

    whole = run(stage(), *messages())
    for cut in range(0, 23, 3):
        first, *rest = stage(), list(messages())
        head = run(first, *rest[0][:cut])
        assert head + run(thaw(stage(), freeze(first)), *rest[0][cut:]) == whole
    assert len(whole) > 4


def test_a_fused_that_nobody_decided_on_ends_here_and_a_decision_does_not():
    desk, alerts = Desk(("A",)), stage()
    assert list(alerts.on(desk.fused())) == []
    (made,) = desk.results()
    assert next(iter(alerts.on(made))) is made


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drawdown_share": 0.0}, "0 < drawdown_share <= 1"),
        ({"accuracy_least": 1}, "accuracy_least"),
        ({"signal_release": 0.9}, "signal_release <= signal_score"),
        ({"clear_seconds": float("nan")}, "clear_seconds must be finite"),
        ({"rule_per_minute": 0}, "at least 1"),
    ],
)
def test_impossible_thresholds_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        AlertRules(**change)
