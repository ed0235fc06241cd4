from operators.messages import Gap, Mood, Tally
from operators.routes import Routes
from operators.stage import freeze, thaw
from tests.support import clock, notice, tick

HOMES = {"AAA": 1, "BBB": 0, "CCC": 1}


def routed(stage, *items):
    return [(each.shard, each.number, each.symbol) for item in items for each in stage.on(item)]


def test_a_symbols_messages_go_to_its_shard_numbered_in_order():
    stage = Routes(HOMES, 2)
    items = [(symbol, tick(symbol)) for symbol in ("AAA", "CCC", "BBB", "AAA")]
    assert routed(stage, *items) == [
        (1, 1, "AAA"), (1, 2, "CCC"), (0, 1, "BBB"), (1, 3, "AAA"),
    ]  # fmt: skip


def test_a_clock_goes_to_every_shard_once():
    stage = Routes(HOMES, 3)
    fanned = [(symbol, clock(5, symbol=symbol)) for symbol in HOMES]
    given = [each for item in fanned for each in stage.on(item)]
    assert [(each.shard, each.message) for each in given] == [
        (shard, clock(5)) for shard in range(3)
    ]


def test_a_notice_goes_to_every_shard():
    word = notice(Mood(source="s", value=1.0, available_at=0))
    assert routed(Routes(HOMES, 2), ("BBB", word)) == [(0, 1, ""), (1, 1, "")]


def test_records_go_to_no_shard():
    gap = Gap(symbol="AAA", venue="v", first_id=1, last_id=2, ts_from=0, ts_to=1)
    tally = Tally(key="clocks", name="received", count=1)
    assert routed(Routes(HOMES, 2), ("AAA", gap), ("", tally)) == [(-1, 0, "AAA"), (-1, 0, "")]


def test_numbers_go_on_behind_a_restart():
    stage = Routes(HOMES, 2)
    routed(stage, ("AAA", tick("AAA")))
    again = thaw(Routes(HOMES, 2), freeze(stage))
    assert routed(again, ("AAA", tick("AAA"))) == [(1, 2, "AAA")]
