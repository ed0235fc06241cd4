from operators.commits import Commits, latest, restored
from operators.fusion import FusionSettings, fuse
from operators.messages import SECOND, Commit, Part
from tests.support import cross_section, leg

EVERY = 10 * SECOND
WANTED = frozenset({("clocks", "3"), ("policy", "3"), ("bars", "AAA")})


def part(stage, key="3", ts=10, state=b"x", offsets=None):
    return Part(stage=stage, key=key, ts_close=ts * SECOND, state=state, offsets=offsets or {})


def parts(ts=10, state=b"x"):
    return [
        part("clocks", ts=ts, state=state, offsets={"3": ts * 100}),
        part("policy", ts=ts, state=state),
        part("bars", "AAA", ts=ts, state=state),
    ]


def fused(ts=10):
    cross = cross_section(("AAA",), ts)
    legs = [leg(name, ts, (0.5,)) for name in ("forecast", "policy", "sentiment")]
    return fuse(cross, legs, FusionSettings())


def run(stage, *messages):
    return [made for message in messages for made in stage.on(message)]


def test_a_commit_stands_behind_all_parts_and_what_was_made():
    stage = Commits("3", WANTED, EVERY)
    made = fused()
    first, second, third = parts()
    assert run(stage, first, made, second) == [made]
    *given, commit = run(stage, third)
    assert given == [first, second, third]
    assert commit == Commit(key="3", ts_close=10 * SECOND, parts=3, offsets={"3": 1000})
    assert stage.state.waiting == {}
    assert stage.state.fused == set()


def test_without_what_was_made_there_is_no_commit():
    stage = Commits("3", WANTED, EVERY)
    assert run(stage, *parts()) == []
    *_, commit = run(stage, fused())
    assert isinstance(commit, Commit)


def test_other_messages_pass_and_are_no_sign():
    stage = Commits("3", WANTED, EVERY)
    early = fused(9)
    assert run(stage, "other", early) == ["other", early]
    assert stage.state.fused == set()


def test_an_incomplete_cut_is_forgotten_with_the_next():
    stage = Commits("3", WANTED, EVERY)
    run(stage, part("clocks"), fused(10))
    *_, commit = run(stage, *parts(20), fused(20))
    assert commit.ts_close == 20 * SECOND
    assert stage.state.waiting == {}
    assert stage.state.fused == set()


def test_the_latest_complete_cut_is_gone_on_from():
    commit = Commit(key="3", ts_close=10 * SECOND, parts=3, offsets={"3": 1000})
    again = Commit(key="3", ts_close=20 * SECOND, parts=3, offsets={"3": 2000})
    whole = [*parts(10), commit]
    assert latest([], "3") is None
    assert latest(parts(10), "3") is None
    assert latest(whole, "3") == (commit, parts(10))
    assert latest([*whole, *parts(20)], "3") == (commit, parts(10))
    assert latest([*whole, *parts(20), again], "3") == (again, parts(20))
    # A crash between: some parts of the later cut are there, the commit is not.
    assert latest([*whole, *parts(20)[:2]], "3") == (commit, parts(10))


def test_parts_that_came_twice_count_once():
    commit = Commit(key="3", ts_close=10 * SECOND, parts=3, offsets={})
    found = latest([*parts(10), *parts(10, b"y"), commit], "3")
    assert found is not None
    assert restored(found[1]) == dict.fromkeys(WANTED, b"y")
