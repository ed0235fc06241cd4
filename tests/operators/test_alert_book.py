"""The book: what is told once, told again, kept back, and told to be over."""

from hypothesis import given
from hypothesis import strategies as st

from operators.alert_book import AlertBook, Condition, fingerprint_of
from operators.messages import SECOND, AlertState, Severity

FIRING, RESOLVED, EVENT = AlertState.FIRING, AlertState.RESOLVED, AlertState.EVENT
MINUTE = 60 * SECOND


def book(**changed):
    settings = {
        "clear_ns": 10 * SECOND,
        "repeat_ns": 3600 * SECOND,
        "rule_per_minute": 3,
        "total_per_minute": 5,
    }
    return AlertBook(**settings | changed)


def condition(subject="A", rule="r", severity=Severity.WARNING, **fields):
    return Condition(rule, severity, subject, f"{subject} is odd", {"x": 1}, **fields)


def told(alerts):
    return [(alert.subject, alert.state) for alert in alerts]


def test_what_goes_on_is_told_once_and_its_end_after_a_while():
    ledger = book()
    found = [told(ledger.judge(s * SECOND, [condition()], {"r"})) for s in range(5)]
    found += [told(ledger.judge(s * SECOND, [], {"r"})) for s in range(5, 30)]

    assert found[0] == [("A", FIRING)]
    assert [each for each in found[1:] if each] == [[("A", RESOLVED)]]
    assert found[14] == [("A", RESOLVED)]  # ten seconds after it held last


def test_what_flickers_is_one_alert():
    ledger = book()
    found = []
    for second in range(60):
        found += ledger.judge(second * SECOND, [condition()] if second % 7 == 0 else [], {"r"})
    assert told(found) == [("A", FIRING)]


def test_what_fires_for_long_is_told_again_as_the_same():
    ledger = book(repeat_ns=MINUTE)
    found = [a for s in range(0, 150, 10) for a in ledger.judge(s * SECOND, [condition()], {"r"})]

    assert [alert.ts_event // SECOND for alert in found] == [0, 60, 120]
    assert len({alert.alert_id for alert in found}) == 1
    assert {alert.since for alert in found} == {0}


def test_what_fires_anew_has_another_id_and_the_same_fingerprint():
    ledger = book(clear_ns=0)
    first, over, again = (
        ledger.judge(s * SECOND, holds, {"r"})[0]
        for s, holds in ((0, [condition()]), (1, []), (2, [condition()]))
    )
    assert first.alert_id == over.alert_id != again.alert_id
    assert first.fingerprint == again.fingerprint == fingerprint_of("r", "A")


def test_only_rules_that_were_judged_end():
    ledger = book(clear_ns=0)
    ledger.judge(0, [condition()], {"r"})
    assert ledger.judge(SECOND, [], {"another"}) == []
    assert told(ledger.judge(2 * SECOND, [], {"r"})) == [("A", RESOLVED)]


def test_a_storm_is_bounded_and_counted():
    ledger = book()
    events = [condition(str(number)) for number in range(10_000)]
    assert len(ledger.happened(0, events)) == 3  # of one rule
    assert ledger.state.kept_back == {"r": 9_997}
    others = [condition(str(number), rule=f"r{number % 7}") for number in range(10_000)]
    assert len(ledger.happened(0, others)) == 2  # five of all
    assert len(ledger.happened(MINUTE, others)) == 5


def test_critical_ones_are_never_kept_back_and_take_nothing_from_others():
    ledger = book()
    storm = [condition(str(n), rule="cut", severity=Severity.CRITICAL) for n in range(10_000)]
    alerts = ledger.judge(0, [*storm, condition("other")], {"cut", "r"})
    assert len(alerts) == 10_001
    assert ledger.state.kept_back == {}
    assert alerts[-1].subject == "other"  # behind what is critical


def test_what_was_kept_back_is_told_once_there_is_room_with_its_true_begin():
    ledger = book(rule_per_minute=1)
    both = [condition("A"), condition("B")]
    assert told(ledger.judge(0, both, {"r"})) == [("A", FIRING)]
    assert ledger.judge(30 * SECOND, both, {"r"}) == []
    (late,) = ledger.judge(61 * SECOND, both, {"r"})
    assert (late.subject, late.since, late.ts_event) == ("B", 0, 61 * SECOND)
    assert ledger.state.kept_back == {"r": 1}  # counted once, not at each look


def test_the_end_of_what_nobody_heard_of_is_not_told():
    ledger = book(rule_per_minute=1, clear_ns=0)
    ledger.judge(0, [condition("A"), condition("B")], {"r"})
    assert told(ledger.judge(SECOND, [], {"r"})) == [("A", RESOLVED)]


def test_events_have_no_end():
    ledger = book()
    assert told(ledger.happened(0, [condition()])) == [("A", EVENT)]
    assert ledger.judge(MINUTE, [], {"r"}) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sets(st.sampled_from("ABCDE"))), min_size=1, max_size=60
    )
)
def test_every_end_follows_its_begin_and_no_begin_comes_twice(steps):
    ledger, now, fires = book(rule_per_minute=2), 0, set()
    for gap, subjects in steps:
        now += gap * SECOND + 1
        for alert in ledger.judge(now, [condition(each) for each in sorted(subjects)], {"r"}):
            if alert.state is FIRING:
                assert alert.subject not in fires
                assert alert.subject in subjects
                fires.add(alert.subject)
            else:
                assert alert.subject not in subjects
                fires.remove(alert.subject)
