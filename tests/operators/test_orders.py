"""Operators' orders: what makes sense, what risk does with it, and states of before them."""

from pathlib import Path

import msgspec
import pytest

from operators.cross_section import CrossSections, CrossSectionSettings
from operators.fusion import Fusion, FusionSettings
from operators.messages import Control, Notice, Reason, Rejection
from operators.normalise import normalise
from operators.orders import KINDS, LIMITS, fault
from operators.risk_settings import RiskSettings
from operators.stage import freeze, thaw
from tests.desk import Desk, actions, first_reasons, order, step, weights
from tests.support import raw

STATES = Path(__file__).parents[1] / "data/states"


def ordered(**fields):
    return Control(**{"kind": "stop", "actor": "ann", "reason": "test", "ts_event": 0} | fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "sell everything"}, "expected one of"),
        ({"kind": "mute"}, "names a symbol"),
        ({"kind": "unmute", "symbol": ""}, "names a symbol"),
        ({"kind": "limit", "limit": "starting_cash", "value": 1.0}, "position_limit"),
        ({"kind": "limit", "limit": "gross_limit", "value": 0.0}, "above 0"),
        ({"kind": "limit", "limit": "gross_limit", "value": float("nan")}, "above 0"),
        ({"reason": "x" * 501}, "500 characters"),
        ({"actor": "x" * 121}, "120 characters"),
    ],
)
def test_order_that_makes_no_sense_is_told_why(fields, words):
    assert words in fault(ordered(**fields))


def test_every_kind_of_order_can_be_given():
    sound = {"symbol": "A", "limit": LIMITS[0], "value": None}
    assert all(fault(ordered(kind=kind, **sound)) is None for kind in KINDS)


def test_every_limit_that_can_be_moved_is_a_setting():
    assert set(LIMITS) <= set(RiskSettings.__struct_fields__)


def test_order_of_before_reads_and_writes_as_it_did():
    payload = b'{"actor":"ann","kind":"stop","reason":"storm","ts_event":7}'

    read = msgspec.json.decode(payload, type=Control)

    assert read == ordered(reason="storm", ts_event=7)
    assert msgspec.json.encode(read, order="sorted") == payload


def test_senseless_order_in_the_log_is_rejected():
    [rejected] = normalise([raw(msgspec.json.encode(ordered(kind="mute")), kind="control")])
    assert isinstance(rejected, Rejection)
    assert rejected.reason is Reason.BAD_VALUE


def test_muted_symbol_opens_no_position_and_others_do():
    desk = Desk(("A", "B"))

    decision = desk.close_bar(0.9, notices=(order("mute", "bob", "odd prints", symbol="A"),))

    assert actions(decision) == ["HOLD", "BUY"]
    assert first_reasons(decision)[0] == "muted"
    assert not decision.signals[0].approved
    assert step(decision, "muted", 0)["why"] == "muted"
    assert decision.portfolio.risk["muted"]["A"]["actor"] == "bob"
    assert "muted" in decision.portfolio.risk["fired"]


def test_muted_symbol_may_close_but_not_turn():
    desk = Desk(("A",))
    [held] = weights(desk.close_bar(0.9))
    mute = order("mute", symbol="A")

    [kept] = weights(desk.close_bar(0.9, notices=(mute,)))
    [closed] = weights(desk.close_bar(-0.9))

    assert held > 0.0
    assert kept == pytest.approx(held)
    assert closed == 0.0


def test_unmuted_symbol_trades_again_and_its_signals_show_no_such_step():
    desk = Desk(("A",))
    desk.close_bar(0.9, notices=(order("mute", symbol="A"),))

    decision = desk.close_bar(0.9, notices=(order("unmute", symbol="A"),))

    assert actions(decision) == ["BUY"]
    assert "muted" not in [each["step"] for each in decision.signals[0].detail["risk"]]


def test_mute_of_a_symbol_outside_the_universe_changes_nothing():
    desk = Desk(("A",))
    assert actions(desk.close_bar(0.9, notices=(order("mute", symbol="Z"),))) == ["BUY"]


def test_limit_that_an_operator_lowered_binds_at_the_next_bar():
    desk = Desk(("A",), position_limit=0.5)
    [before] = weights(desk.close_bar(0.9))

    lowered = order("limit", limit="position_limit", value=before / 2)
    decision = desk.close_bar(0.9, notices=(lowered,))

    assert 0.0 < weights(decision)[0] <= before / 2
    assert decision.portfolio.risk["limits"]["position_limit"] == {
        "value": before / 2,
        "most": 0.5,
    }


def test_limit_above_the_configured_one_counts_as_that():
    desk = Desk(("A",), position_limit=0.01)

    decision = desk.close_bar(0.9, notices=(order("limit", limit="position_limit", value=9.0),))

    assert decision.portfolio.risk["limits"]["position_limit"] == {"value": 0.01, "most": 0.01}
    assert weights(decision)[0] <= 0.01


def test_limit_without_a_value_is_the_configured_one_again():
    desk = Desk(("A",))
    desk.close_bar(notices=(order("limit", limit="gross_limit", value=0.1),))

    decision = desk.close_bar(notices=(order("limit", limit="gross_limit", value=None),))

    limit = decision.portfolio.risk["limits"]["gross_limit"]
    assert limit["value"] == limit["most"] == 50.0


def test_mutes_and_limits_survive_a_restart():
    desk = Desk(("A",))
    given = (order("mute", symbol="A"), order("limit", limit="gross_limit", value=0.1))
    desk.close_bar(notices=given)

    resumed = Desk(("A",))
    resumed.seconds = desk.seconds
    thaw(resumed.stage, freeze(desk.stage))
    decision = resumed.close_bar(0.9)

    assert first_reasons(decision) == ["muted"]
    assert decision.portfolio.risk["limits"]["gross_limit"]["value"] == 0.1


def test_state_of_risk_from_before_mutes_is_gone_on_from():
    desk = Desk(("A", "B"))
    thaw(desk.stage, (STATES / "risk_1-14d4c9a20aa0.bin").read_bytes())
    desk.seconds = 2

    decision = desk.close_bar(0.9)

    assert first_reasons(decision) == ["emergency_stop"] * 2
    assert decision.portfolio.risk["stop"]["reason"] == "storm"
    assert decision.portfolio.risk["muted"] == {}


def test_states_that_hold_orders_of_before_are_gone_on_from():
    sections = CrossSections(CrossSectionSettings(), ("A", "B"))
    fusion = Fusion(FusionSettings())

    thaw(sections, (STATES / "cross_section_1-9b5058690401.bin").read_bytes())
    thaw(fusion, (STATES / "fusion_1-5e65fafd7359.bin").read_bytes())

    expected = Notice(after=0, offset=0, body=ordered(reason="storm"))
    assert sections.state.notices == [expected]
    [pending] = fusion.state.pending.values()
    assert pending.cross.notices == (expected,)
