import msgspec
import numpy as np
import pytest

from operators.fusion import FusionSettings, fuse
from operators.gather import Gather
from operators.messages import SECOND, Barrier, Control, Mood, Part, ScoredHeadline, Tally
from tests.support import cross_section, headline, leg, notice

UNIVERSE = ("AAA", "BBB", "CCC")
SHARDS = {"1": ("BBB",), "4": ("AAA", "CCC")}


def fused(shard, ts_close, value=0.5, notices=(), offset=0, **fields):
    cross = cross_section(SHARDS[str(shard)], ts_close, shard=shard, notices=notices, **fields)
    size = len(cross.symbols)
    legs = [
        leg(name, ts_close, np.full(size, value)) for name in ("forecast", "policy", "sentiment")
    ]
    made = fuse(cross, legs, FusionSettings())
    return msgspec.structs.replace(made, offset=offset)


def gathered(stage, *messages):
    return [made for message in messages for made in stage.on(message)]


def closes(made):
    return [each.cross.ts_close // SECOND for each in made if hasattr(each, "cross")]


def test_a_close_waits_for_every_shard_and_stands_in_the_universes_order():
    stage = Gather(SHARDS, UNIVERSE)
    first = fused(4, 7, value=0.25)
    assert gathered(stage, first) == []
    [whole] = gathered(stage, fused(1, 7, value=-0.5))
    assert whole.cross.symbols == UNIVERSE
    assert [bar.symbol for bar in whole.cross.bars] == list(UNIVERSE)
    assert whole.legs[0].value.tolist() == [0.25, -0.5, 0.25]
    assert whole.score[0] == first.score[0]
    assert whole.cross.ready.all()
    assert whole.weights.shape == (3, 3)


def test_closes_come_in_order_however_far_one_shard_is_ahead():
    stage = Gather(SHARDS, UNIVERSE)
    assert gathered(stage, fused(4, 1), fused(4, 2), fused(4, 3)) == []
    assert closes(gathered(stage, fused(1, 1), fused(1, 2))) == [1, 2]
    assert closes(gathered(stage, fused(1, 3))) == [3]


def test_a_shard_that_is_past_a_close_has_nothing_more_to_say_of_it():
    stage = Gather(SHARDS, UNIVERSE)
    made = gathered(stage, fused(4, 1), fused(1, 2))
    assert closes(made) == [1]
    assert not made[0].cross.ready[1]
    assert made[0].cross.bars[1] is None
    assert made[0].legs[0].abstains.tolist() == [False, True, False]
    assert made[1] == Tally(key="shard/1", name="missed_closes", count=1)


def test_what_comes_again_is_dropped():
    stage = Gather(SHARDS, UNIVERSE)
    gathered(stage, fused(4, 1), fused(1, 1))
    assert gathered(stage, fused(4, 1), fused(1, 1)) == []
    assert stage.state.pending == {}


def test_a_barrier_ends_the_wait_and_what_comes_late_is_dropped():
    stage = Gather(SHARDS, UNIVERSE)
    gathered(stage, fused(4, 1))
    made = gathered(stage, Barrier(ts_close=SECOND, shards=(4,)))
    assert closes(made) == [1]
    assert gathered(stage, fused(1, 1)) == []
    assert closes(gathered(stage, fused(4, 2), fused(1, 2))) == [2]


def test_a_barrier_from_before_a_restart_is_obeyed_though_the_shard_is_there_now():
    live, again = Gather(SHARDS, UNIVERSE), None
    barrier = Barrier(ts_close=SECOND, shards=(4,))
    [first, *_] = gathered(live, fused(4, 1), barrier)
    again = Gather(SHARDS, UNIVERSE, barriers=[barrier])
    [second, *_] = gathered(again, fused(1, 1, value=-1.0), fused(4, 1))
    assert second.score.tolist() == first.score.tolist()
    assert second.cross.ready.tolist() == first.cross.ready.tolist() == [True, False, True]


def test_nothing_from_before_a_cut_is_decided_again():
    stage = Gather(SHARDS, UNIVERSE, done=2 * SECOND)
    assert gathered(stage, fused(4, 1), fused(1, 1), fused(4, 2), fused(1, 2)) == []
    assert closes(gathered(stage, fused(4, 3), fused(1, 3))) == [3]


def test_a_cut_says_where_each_shards_stream_stands():
    stage = Gather(SHARDS, UNIVERSE, checkpoint_every=2)
    made = gathered(
        stage, fused(4, 1, offset=10), fused(4, 2, offset=11), fused(4, 3, offset=12),
        fused(1, 1, offset=5), fused(1, 2, offset=6),
    )  # fmt: skip
    [part] = [each for each in made if isinstance(each, Part)]
    assert part.ts_close == 2 * SECOND
    assert part.offsets == {"4": 11, "1": 6}


def test_a_notice_is_there_once_with_the_symbols_of_all_shards():
    def scored(symbols):
        return ScoredHeadline(
            headline=headline(symbols=symbols), negative=0.1, positive=0.8, neutral=0.1, model="m"
        )

    order = Control(kind="stop", actor="a", reason="r", ts_event=1)
    mood = Mood(source="s", value=1.0, available_at=0)
    [whole] = gathered(
        Gather(SHARDS, UNIVERSE),
        fused(4, 1, notices=(notice(scored(("CCC", "AAA")), offset=3), notice(order, offset=4))),
        fused(
            1,
            1,
            notices=(
                notice(mood, offset=2),
                notice(scored(("BBB",)), offset=3),
                notice(order, offset=4),
            ),
        ),
    )
    assert [each.offset for each in whole.cross.notices] == [2, 3, 4]
    assert whole.cross.notices[1].body.headline.symbols == UNIVERSE
    assert whole.cross.notices[2].body == order


@pytest.mark.parametrize("message", ["another", Tally(key="a", name="b", count=1)])
def test_other_messages_pass(message):
    assert gathered(Gather(SHARDS, UNIVERSE), message) == [message]
