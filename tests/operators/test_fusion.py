"""The legs are weighted by prior, skill and certainty, and joined by bar close."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.fusion import LEGS, Fusion, FusionSettings, fuse
from operators.messages import Fused, Tally
from operators.stage import freeze, thaw
from tests.support import cross_section, leg

SETTINGS = FusionSettings()


def three(ts_close=1, forecast=(0.5, 0.5), policy=(0.5, 0.5), sentiment=(0.5, 0.5)):
    values = zip(LEGS, (forecast, policy, sentiment), strict=True)
    return [leg(name, ts_close, value) for name, value in values]


def numbers(fused):
    return [
        each.tobytes()
        for each in (fused.weights, fused.score, fused.confidence, fused.disagreement)
    ]


def test_equally_confident_legs_get_their_prior_weights():
    fused = fuse(cross_section(), three(), SETTINGS)

    np.testing.assert_allclose(fused.weights[:, 0], (0.4, 0.4, 0.2))
    np.testing.assert_allclose(fused.score, 0.5)
    np.testing.assert_allclose(fused.confidence, 0.5)
    np.testing.assert_allclose(fused.disagreement, 0.0, atol=1e-12)


def test_weights_are_renormalised_per_symbol_where_a_leg_abstains():
    legs = three()
    legs[1] = leg("policy", value=(1.0, 1.0), abstains=np.array([True, False]))

    fused = fuse(cross_section(), legs, SETTINGS)

    np.testing.assert_allclose(fused.weights[:, 0], (2 / 3, 0.0, 1 / 3))
    np.testing.assert_allclose(fused.weights[:, 1], (0.4, 0.4, 0.2))


def test_confidence_is_skill_times_certainty():
    legs = three()
    legs[0] = leg("forecast", skill=1.0, certainty=np.array([0.8, 0.0]))

    fused = fuse(cross_section(), legs, SETTINGS)

    np.testing.assert_allclose(fused.confidence, (0.4 * 0.8 + 0.6 * 0.5, 0.6 * 0.5))
    assert fused.weights[0, 1] == 0.0


def test_silent_leg_neither_helps_nor_hurts_the_confidence():
    legs = three()
    legs[2] = leg("sentiment", abstains=np.array([True, True]))

    np.testing.assert_allclose(fuse(cross_section(), legs, SETTINGS).confidence, 0.5)


def test_all_abstaining_gives_no_score_and_no_confidence():
    everyone = np.array([True, True])

    fused = fuse(cross_section(), [leg(name, abstains=everyone) for name in LEGS], SETTINGS)

    for array in (fused.weights, fused.score, fused.confidence, fused.disagreement):
        assert not array.any()


def test_leg_without_finite_numbers_is_silent():
    legs = three()
    legs[0] = leg("forecast", value=(np.nan, np.inf))

    fused = fuse(cross_section(), legs, SETTINGS)

    np.testing.assert_allclose(fused.score, 0.5)
    assert not fused.weights[0].any()


def test_symbol_that_is_not_ready_has_no_score():
    fused = fuse(cross_section(ready=np.array([True, False])), three(), SETTINGS)

    assert fused.score[0] != 0.0
    assert fused.score[1] == 0.0


def test_opposite_legs_of_equal_weight_disagree_fully():
    no_news = FusionSettings(forecast=1.0, policy=1.0, sentiment=0.0)

    fused = fuse(cross_section(), three(forecast=(1, 1), policy=(-1, -1)), no_news)

    np.testing.assert_allclose(fused.disagreement, 1.0)
    np.testing.assert_allclose(fused.score, 0.0)


def test_order_of_the_legs_changes_no_bit():
    legs = three(forecast=(0.1, -0.7), policy=(0.33, 0.9), sentiment=(-0.77, 0.2))

    results = [
        numbers(fuse(cross_section(), order, SETTINGS)) for order in itertools.permutations(legs)
    ]

    assert all(result == results[0] for result in results)


def test_missing_leg_is_an_error():
    with pytest.raises(ValueError, match="expected the legs"):
        fuse(cross_section(), three()[:2], SETTINGS)


def test_weights_that_cannot_be_normalised_are_refused():
    with pytest.raises(ValueError, match="weights"):
        FusionSettings(forecast=0.0, policy=0.0, sentiment=0.0)
    with pytest.raises(ValueError, match="weights"):
        FusionSettings(forecast=-0.1)


unit = st.floats(0, 1)
view = st.tuples(st.floats(-1, 1), unit, unit, st.booleans())


@settings(deadline=None)
@given(st.tuples(view, view, view))
def test_fused_numbers_stay_in_their_ranges(views):
    legs = [
        leg(
            name,
            value=(value,),
            certainty=np.array([certainty]),
            skill=skill,
            abstains=np.array([abstains]),
        )
        for name, (value, certainty, skill, abstains) in zip(LEGS, views, strict=True)
    ]

    fused = fuse(cross_section(("A",)), legs, SETTINGS)

    assert -1.0 <= fused.score[0] <= 1.0
    assert 0.0 <= fused.confidence[0] <= 1.0
    assert 0.0 <= fused.disagreement[0] <= 1.0
    total = fused.weights.sum()
    assert total == 0.0 or abs(total - 1.0) < 1e-12
    values = [value for value, *_ in views]
    assert min([*values, 0.0]) - 1e-12 <= fused.score[0] <= max([*values, 0.0]) + 1e-12


def parts(ts_close):
    return [cross_section(ts_close=ts_close), *three(ts_close, forecast=(0.1 * ts_close, -0.3))]


def closes(messages):
    return [each.cross.ts_close for each in messages if isinstance(each, Fused)]


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_interleaving_is_fused_in_order_of_time(random):
    messages = [message for ts_close in (1, 2, 3) for message in parts(ts_close)]
    # The first parts of a bar close come in order, as each branch keeps its own.
    head, tail = messages[::4], [each for each in messages if each not in messages[::4]]
    random.shuffle(tail)
    stage = Fusion(SETTINGS)

    out = [result for message in (*head, *tail) for result in stage.on(message)]

    assert closes(out) == sorted(closes(out))
    assert len(closes(out)) == 3
    expected = [fuse(parts(t)[0], parts(t)[1:], SETTINGS) for t in (1, 2, 3)]
    assert [numbers(each) for each in out] == [numbers(each) for each in expected]


def test_pending_parts_survive_a_restart():
    messages = parts(1)
    stage = Fusion(SETTINGS)
    for message in messages[:2]:
        assert not list(stage.on(message))

    resumed = thaw(Fusion(SETTINGS), freeze(stage))
    out = [result for message in messages[2:] for result in resumed.on(message)]

    assert numbers(out[0]) == numbers(fuse(messages[0], messages[1:], SETTINGS))
    assert thaw(Fusion(SETTINGS), freeze(resumed)).state.pending == {}


def test_repeated_parts_are_dropped_and_counted():
    stage = Fusion(SETTINGS)
    messages = parts(1)
    assert list(stage.on(messages[1])) == []
    assert list(stage.on(messages[1])) == [Tally(key="fusion", name="repeated", count=1)]
    for message in (messages[0], *messages[2:]):
        stage.on(message)

    assert list(stage.on(messages[0])) == [Tally(key="fusion", name="repeated", count=2)]
    assert stage.state.pending == {}


def test_other_messages_pass_through_unchanged():
    tally = Tally(key="a", name="b", count=1)

    assert list(Fusion(SETTINGS).on(tally)) == [tally]
