"""The policy's stage acts on what it can read, and keeps what it has where it cannot."""

import msgspec
import numpy as np
import pytest

from models import runtime
from models.ppo.actor import Actor
from models.ppo.rules import PositionRules
from models.schema import FEATURES, WINDOW
from operators.messages import BarQuality, Leg
from operators.model_age import ModelAgeSettings, Told
from operators.policy import Policy, VirtualPositions
from tests.support import MINUTE, cross_section

SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE")
EAGER = PositionRules(min_holding_bars=0, switching_margin=0.0)


@pytest.fixture(scope="module")
def actor():
    return Actor(runtime.load("policy_1m", kind="policy", interval=MINUTE))


def windows(seed):
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.normal(0.0, 1.5, (len(SYMBOLS), WINDOW, len(FEATURES))).astype(np.float32)


def moving(actor):
    """Return a stage, and cross-sections that make it trade every symbol."""
    stage = Policy(actor, EAGER, ModelAgeSettings(), len(SYMBOLS), checkpoint_every=10**6)
    sections = [
        cross_section(SYMBOLS, number, features=windows(number), interval=MINUTE)
        for number in range(1, 40)
    ]
    return stage, sections


def answer(stage, section):
    [leg] = [message for message in stage.on(section) if isinstance(message, Leg)]
    return leg


def walked(actor, change):
    """Return positions, (times, symbols), and legs where `change` alters each cross-section."""
    stage, sections = moving(actor)
    legs = [answer(stage, change(section)) for section in sections]
    return np.array([leg.detail["position"] for leg in legs]), legs


def untouched(section):
    return section


def masked(section):
    ready = section.ready.copy()
    ready[2] = False
    return msgspec.structs.replace(section, ready=ready)


def not_a_number(section):
    features = section.features.copy()
    features[2, -1, 5] = np.nan
    return msgspec.structs.replace(section, features=features)


def infinite(section):
    features = section.features.copy()
    features[2, -1, 5] = np.inf
    return msgspec.structs.replace(section, features=features)


def cut_feed(section):
    bars = list(section.bars)
    bars[2] = msgspec.structs.replace(bars[2], quality=BarQuality.GAP)
    return msgspec.structs.replace(section, bars=tuple(bars))


def without_a_bar(section):
    return msgspec.structs.replace(
        section, bars=(*section.bars[:2], None, *section.bars[3:]), ready=masked(section).ready
    )


UNREADABLE = [masked, not_a_number, infinite, cut_feed, without_a_bar]


def test_every_symbol_is_traded_where_all_can_be_read(actor):
    positions, legs = walked(actor, untouched)

    assert (np.abs(np.diff(positions, axis=0)).sum(axis=0) > 0).all()
    assert not any(leg.abstains.any() for leg in legs)


@pytest.mark.parametrize("change", UNREADABLE)
def test_what_cannot_be_read_is_never_acted_on_and_has_no_opinion(actor, change):
    positions, legs = walked(actor, change)

    assert (positions[:, 2] == 0.0).all()
    assert all(leg.abstains.tolist() == [False, False, True, False, False] for leg in legs)
    assert all((leg.value[2], leg.certainty[2]) == (0.0, 0.0) for leg in legs)
    assert all(np.isfinite(leg.value).all() for leg in legs)


@pytest.mark.parametrize("change", UNREADABLE)
def test_others_are_acted_on_as_if_the_unreadable_symbol_were_not_there(actor, change):
    expected, _ = walked(actor, masked)
    positions, legs = walked(actor, change)

    assert (positions == expected).all()
    assert np.abs(positions[:, [0, 1, 3, 4]]).any(axis=0).all()
    assert all(np.isfinite(value).all() for leg in legs for value in leg.detail.values())


@pytest.mark.parametrize("change", UNREADABLE)
@pytest.mark.parametrize("side", [-1, 1])
def test_open_position_stays_while_its_symbol_cannot_be_read(actor, change, side):
    stage, sections = moving(actor)
    open_ones = np.full(len(SYMBOLS), side)
    stage.state = VirtualPositions(open_ones, np.full(len(SYMBOLS), 1_000), Told())

    moved = False
    for section in sections:
        leg = answer(stage, change(section))
        assert leg.detail["position"][2] == side
        moved |= bool((leg.detail["position"] != side).any())
    assert moved


@pytest.mark.parametrize("change", UNREADABLE)
def test_session_end_closes_even_what_cannot_be_read(actor, change):
    stage, (section, *_) = moving(actor)
    ones = np.ones(len(SYMBOLS), np.int64)
    stage.state = VirtualPositions(ones, ones, Told())
    closing = msgspec.structs.replace(
        section, bars=tuple(msgspec.structs.replace(bar, session_left=0) for bar in section.bars)
    )

    leg = answer(stage, change(closing))

    closed = [0.0] * len(SYMBOLS)
    if change is without_a_bar:  # nothing says that its session ends
        closed[2] = 1.0
    assert leg.detail["position"].tolist() == closed
