"""A frozen state says whose it is and of what shape, and holds plain data only."""

import os
import pickle
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field, make_dataclass
from typing import NamedTuple
from zlib import crc32

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import cross_section, frozen
from operators.cross_section import CrossSections, CrossSectionSettings, CrossSectionState
from operators.frozen import MAGIC, Migration, StateError, fingerprint, pack, unpack
from operators.fusion import Fusion, FusionSettings
from operators.indicators import Indicators
from operators.messages import BarQuality, HoleState, Mood, Notice
from operators.stage import freeze, thaw
from tests.stores import hole, repaired, stored_bar


def sections():
    return CrossSections(CrossSectionSettings(), ("BTCUSDT",))


def filled():
    stage = sections()
    stage.state.notices.append(
        Notice(after=1, offset=2, body=Mood(source="fg", value=26.0, available_at=1))
    )
    stage.state.repaired.append(repaired(stored_bar()))
    return stage


def headed(stage, body):
    """A frozen state of `stage` with another pickle behind its header."""
    head = freeze(stage).partition(b"\n")[0].rpartition(b" ")[0]
    return head + f" {crc32(body):08x}\n".encode() + body


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def test_state_comes_back():
    thawed = thaw(sections(), freeze(filled()))
    assert thawed.state == filled().state
    assert freeze(thawed) == freeze(filled())


def test_header_names_stage_and_shape():
    head, _, body = freeze(filled()).partition(b"\n")
    shape = fingerprint(CrossSections, CrossSectionState)
    checksum = f"{crc32(body):08x}"
    assert head == MAGIC + f"operators.cross_section.CrossSections {shape} {checksum}".encode()
    assert body.startswith(b"\x80")


def test_later_changes_of_the_state_do_not_touch_what_was_frozen():
    stage = filled()
    before = freeze(stage)
    again = bytes(before)
    stage.state.notices.clear()
    assert before == again


@pytest.mark.parametrize(
    "found",
    [
        b"",
        pickle.dumps(CrossSectionState()),  # as it was before there was a header
        MAGIC,
        MAGIC + b"no end of the line",
        MAGIC + b"only two-words\n",
        b"NGSTATE2 operators.cross_section.CrossSections 1-0 00000000\n",
    ],
)
def test_state_without_a_header_is_refused(found):
    with pytest.raises(StateError, match=r"that says its shape, found .* delete FILE\.recovery"):
        thaw(sections(), found)


def test_state_of_another_stage_is_refused():
    with pytest.raises(StateError, match=r"state of operators\.fusion\.Fusion, found one of "):
        thaw(Fusion(FusionSettings()), freeze(Indicators()))


def test_state_of_another_shape_is_refused(monkeypatch):
    old = freeze(filled())
    wider = make_dataclass(
        "CrossSectionState", [("shard", int, field(default=0))], bases=(CrossSectionState,)
    )
    monkeypatch.setattr(cross_section, "CrossSectionState", wider)
    before = fingerprint(CrossSections, CrossSectionState)
    after = fingerprint(CrossSections, wider)
    with pytest.raises(StateError, match=f"of shape {after}, found one of shape {before}, made by"):
        thaw(sections(), old)


def test_state_of_another_version_is_refused(monkeypatch):
    old = freeze(filled())
    fingerprint.cache_clear()
    monkeypatch.setattr(CrossSections, "version", 2, raising=False)
    try:
        with pytest.raises(StateError, match=r"of shape 2-.*, found one of shape 1-"):
            thaw(sections(), old)
    finally:
        fingerprint.cache_clear()


@dataclass(slots=True)
class Before:
    """How a state once was: fewer fields, in another order."""

    notices: list[Notice] = field(default_factory=list)
    pending: dict[int, str] = field(default_factory=dict)


Before.__module__, Before.__qualname__ = "operators.cross_section", "CrossSectionState"


def test_state_of_an_earlier_shape_is_migrated_by_what_is_registered_for_it(monkeypatch):
    notice = filled().state.notices[0]
    with monkeypatch.context() as then:  # pickled by the class that stood there
        then.setattr(cross_section, "CrossSectionState", Before)
        old = pack(CrossSections, Before([notice], {7: "x"}))
    shape = fingerprint(CrossSections, Before)
    assert shape != fingerprint(CrossSections, CrossSectionState)
    migration = Migration(
        lambda state: CrossSectionState(notices=state.notices),
        {"operators.cross_section.CrossSectionState": Before},
    )
    monkeypatch.setattr(CrossSections, "migrations", {shape: migration}, raising=False)
    assert thaw(sections(), old).state == CrossSectionState(notices=[notice])

    wrong = Migration(lambda state: state.notices, migration.classes)
    monkeypatch.setattr(CrossSections, "migrations", {shape: wrong})
    with pytest.raises(StateError, match=r"found a builtins\.list; correct the migration"):
        thaw(sections(), old)


class Point(NamedTuple):
    x: int


class Line(msgspec.Struct):
    points: tuple[Point, ...]
    shade: BarQuality | None = None


@dataclass
class Drawing:
    lines: dict[str, Line]
    around: "Drawing | None" = None


def test_fingerprint_follows_fields_by_name_type_and_order_as_deep_as_they_go(monkeypatch):
    def shape():
        fingerprint.cache_clear()
        return fingerprint(Indicators, Drawing)

    seen = {shape()}
    assert shape() in seen
    for owner, hints in (
        (Point, {"x": float}),
        (Point, {"y": int}),
        (Point, {"x": int, "y": int}),
        (Point, {"y": int, "x": int}),
        (Line, {"points": list[Point]}),
        (Drawing, {"around": None, "lines": dict[str, Line]}),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(owner, "__annotations__", hints)
            assert shape() not in seen
            seen.add(shape())
    assert shape() in seen


@pytest.mark.parametrize(
    "value",
    [
        {1, 2}, frozenset("a"), bytearray(b"x"), 1j, deque([1], maxlen=2), Counter("aab"),
        OrderedDict(a=1), defaultdict(list, a=[1]), array("d", [1.5]), np.float64(1.5),
        HoleState.FILLED, hole(), [(None, True, "x", b"y", 2**70)],
    ],
)  # fmt: skip
def test_plain_data_comes_back(value):
    assert unpack(Indicators, type(value), pack(Indicators, value)) == value


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(9)[::3],  # not contiguous
        np.array(["a", "b"]),
        np.array(["a", None], object),
        np.array([], np.float32),
    ],
)
def test_arrays_come_back(value):
    again = unpack(Indicators, np.ndarray, pack(Indicators, value))
    assert again.dtype == value.dtype
    assert again.tolist() == value.tolist()


@pytest.mark.parametrize(
    "call",
    [
        Call(os.system, "touch hacked"),
        Call(eval, "open('hacked', 'w')"),
        Call(getattr, "", "join"),
        Call(np.load, "hacked"),
        Call(pickle.loads, pickle.dumps(1)),
        Call(thaw, None, b""),  # a function of ours
        Call(StateError, "no data class"),
        [Call(os.system, "touch hacked")],
        np.array([Call(os.system, "touch hacked")], object),
    ],
)
def test_nothing_but_plain_data_is_made(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StateError, match="expected plain data in a frozen state, found "):
        thaw(sections(), headed(sections(), pickle.dumps(call)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "operators.frozen pickle.loads",  # what our module imports, by its path
        "operators.frozen io",
        "operators.stage pack",
        "operators.stage Any",
        "operators.indicators IndicatorState.__init__",
        "operators.nowhere Class",
    ],
)
def test_our_modules_give_their_own_data_classes_only(name):
    module, attribute = name.split()
    body = b"\x80\x04" + b"".join(
        b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, attribute)
    )
    with pytest.raises(StateError):
        thaw(sections(), headed(sections(), body + b"\x93."))


@given(st.data())
def test_damage_is_told(data):
    whole = bytearray(freeze(filled()))
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[place:]
    else:
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(StateError):
        thaw(sections(), bytes(whole))


def test_state_of_another_class_is_refused():
    with pytest.raises(StateError, match=r"CrossSectionState as the state of .*, found a .*list"):
        thaw(sections(), headed(sections(), pickle.dumps([])))


def test_a_refused_state_leaves_the_stage_as_it_was():
    stage = filled()
    with pytest.raises(StateError):
        thaw(stage, b"")
    assert stage.state == filled().state


def test_names_that_pickles_of_plain_data_use_exist():
    for module, name in frozen._PLAIN:
        assert hasattr(__import__(module, fromlist=[name]), name), (module, name)
