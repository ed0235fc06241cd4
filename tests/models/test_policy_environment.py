"""Training, serving and evaluation act, pay and are bound alike, on real bars."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from models import datasets, runtime
from models.bar_files import read_bars
from models.ppo.actor import Actor
from models.ppo.market import joined, market_of, mirrored
from models.ppo.replay import replay
from models.ppo.rules import NEVER_CLOSES, rules_for
from operators.messages import Leg
from operators.model_age import ModelAgeSettings
from operators.policy import Policy
from tests.support import EQKER, MINUTE, cross_section

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("stable_baselines3")

SYMBOLS = ("BAC", "SPY", "UGA")  # UGA trades in one minute of five
RULES = rules_for(MINUTE)


@pytest.fixture(scope="module")
def by_symbol():
    frame = read_bars(EQKER, tz="America/New_York", interval=MINUTE)
    frame = frame.filter(pl.col("symbol").is_in(SYMBOLS))
    return datasets.from_frame(frame, interval_ns=MINUTE, calendar="XNYS")


@pytest.fixture(scope="module")
def market(by_symbol):
    return market_of(by_symbol)


@pytest.fixture(scope="module")
def actor():
    return Actor(runtime.load("policy_1m", kind="policy", interval=MINUTE))


@pytest.fixture(scope="module")
def track(market, actor):
    return replay(market, actor.act, RULES)


def environment(market):
    from models.ppo import environment as module

    return gymnasium.make(module.NAME, market=market, rules=RULES)


def test_environment_keeps_the_contract_of_gymnasium(market):
    from gymnasium.utils.env_checker import check_env

    check_env(environment(market).unwrapped, skip_render_check=True)


def test_episodes_cover_each_ready_bar_once_and_never_cross_a_session(market):
    covered = np.zeros(len(market.ts_close), int)
    for first, last in market.episodes:
        covered[first : last + 1] += 1
        assert (np.diff(market.session_left[first : last + 1]) == -1).all()

    assert covered.max() == 1
    missing = market.ready & (covered == 0)
    assert missing.sum() <= len(market.symbols)  # a symbol's last bar has no next


def test_replay_of_the_actor_and_the_environment_agree_on_positions_and_rewards(market, track):
    env = environment(market)
    time_of = {int(stamp): number for number, stamp in enumerate(track.ts_close)}
    state, before = {}, None
    for episode, (first, last) in enumerate(market.episodes):
        symbol = int(market.symbol_of[first])
        # The replay carries a position from one episode of a symbol into the next.
        carried = state if symbol == before else {}
        env.reset(options={"episode": episode, **carried})
        for row in range(first, last + 1):
            time = time_of[int(market.ts_close[row])]
            wanted = track.position[time, symbol]
            _, reward, ended, cut, info = env.step(np.int64(wanted + 1))
            assert info["position"] == wanted
            assert reward == pytest.approx(track.reward[time, symbol], abs=1e-12)
            assert (ended or cut) == (row == last)
            assert ended == (market.session_left[row] == 0)
        state, before = {key: info[key] for key in ("position", "held")}, symbol


def test_serving_stage_takes_the_same_positions_as_the_replay(by_symbol, market, actor, track):
    stage = Policy(actor, RULES, ModelAgeSettings(), len(SYMBOLS), checkpoint_every=10**6)
    names = sorted(by_symbol)
    row_at = {name: {int(t): r for r, t in enumerate(by_symbol[name].ts_close)} for name in names}
    for time in range(180, 700):  # past a session's end
        stamp = int(track.ts_close[time])
        rows = [row_at[name].get(stamp, -1) for name in names]
        windows = [
            by_symbol[name].windows(np.array([row]))[0]
            if row >= 0 and by_symbol[name].ready[row]
            else np.zeros((60, market.features.shape[1]), np.float32)
            for name, row in zip(names, rows, strict=True)
        ]
        message = cross_section(
            names, 0, features=np.stack(windows), ready=track.ready[time], interval=MINUTE
        )
        left = [
            int(by_symbol[name].session_left[row]) if row >= 0 else None
            for name, row in zip(names, rows, strict=True)
        ]
        bars = [
            bar.__class__(
                **{f: getattr(bar, f) for f in bar.__struct_fields__} | {"session_left": n}
            )
            for bar, n in zip(message.bars, left, strict=True)
        ]
        message = type(message)(
            **{f: getattr(message, f) for f in message.__struct_fields__} | {"bars": tuple(bars)}
        )
        [leg] = [answer for answer in stage.on(message) if isinstance(answer, Leg)]
        assert leg.detail["position"].tolist() == track.position[time].tolist()
        ready = track.ready[time]
        value, _ = actor.opinion(track.preference[time], ready)
        np.testing.assert_allclose(leg.value, value, atol=1e-6)


def test_lesson_holds_the_features_that_serving_makes_of_a_cross_section(by_symbol, market):
    from models.context import relative, relative_bars

    lesson = market_of(relative_bars(by_symbol))
    checked = 0
    for stamp in np.unique(market.ts_close)[::37]:
        rows = np.flatnonzero(market.ts_close == stamp)
        if not market.ready[rows].all():  # until then serving's mean is that of fewer
            continue
        served = relative(market.features[rows][:, None], market.ready[rows])[:, 0]
        np.testing.assert_allclose(lesson.features[rows], served, atol=1e-5)
        checked += 1
    assert checked > 20


def test_lanes_step_as_single_environments_do(market):
    from models.ppo.lanes import Lanes

    lanes = Lanes(market, RULES, count=3, seed=1)
    first_rows = market.episodes[:, 0].tolist()
    lanes.reset()
    lanes._begin(np.arange(3))  # all lanes at the start of an episode
    singles = [environment(market) for _ in range(3)]
    for lane, env in enumerate(singles):
        env.reset(options={"episode": first_rows.index(int(lanes.row[lane]))})
    actions = np.random.Generator(np.random.PCG64(2)).integers(0, 3, (600, 3))
    for wanted in actions:
        seen, rewards, over, infos = lanes.step(wanted)
        for lane, env in enumerate(singles):
            alone, reward, ended, cut, _ = env.step(wanted[lane])
            assert rewards[lane] == np.float32(reward)
            assert over[lane] == (ended or cut)
            if over[lane]:
                assert infos[lane]["TimeLimit.truncated"] == cut
                assert (infos[lane]["terminal_observation"] == alone).all()
                again = first_rows.index(int(lanes.row[lane]))
                alone, _ = env.reset(options={"episode": again})
            assert (seen[lane] == alone).all()


def test_nothing_is_held_at_the_end_of_a_session(market, track):
    stamps = np.unique(market.ts_close[market.session_left == 0])
    closing = np.isin(track.ts_close, stamps)

    assert closing.sum() == 5
    assert (track.position[closing] == 0).all()


def test_later_bars_leave_earlier_actions_as_they_are(by_symbol, actor, track):
    cut = int(track.ts_close[900])
    changed = {}
    for name, bars in by_symbol.items():
        late = bars.ts_close > cut
        features = np.where(late[:, None], -bars.features, bars.features)
        prices = np.where(late[:, None], bars.bars * 2.0, bars.bars)
        changed[name] = replace(bars, features=features, bars=prices)

    other = replay(market_of(changed), actor.act, RULES)

    assert (other.position[:901] == track.position[:901]).all()
    assert (other.preference[:901] == track.preference[:901]).all()
    assert (other.earned[:900] == track.earned[:900]).all()


def test_bounce_between_bid_and_ask_earns_nothing(by_symbol):
    bars = by_symbol["SPY"]
    prices = bars.bars.copy()
    prices[:, :4] = (100.0 + 0.05 * (np.arange(len(bars)) % 2))[:, None]
    prices[:, 6] = 0.05
    market = market_of({"SPY": replace(bars, bars=prices)})
    rules = rules_for(MINUTE)
    free = type(rules)(min_holding_bars=0, fee_bps=0.0, slippage_bps=0.0)
    up = market.next_return > 0

    def foresee(features, position, held, ready):
        rising = up[foresee.row]
        foresee.row += 1
        return np.array([[0.0, 0.0, 1.0]] if rising else [[1.0, 0.0, 0.0]])

    foresee.row = 0
    found = replay(market, foresee, free)

    assert found.earned.sum() > 0.1
    assert (found.earned - found.cost).sum() < 0.01 * found.earned.sum()


def test_mirrored_market_turns_returns_and_direction_round_and_back(market):
    mirror = mirrored(market)

    assert (mirror.next_return == -market.next_return).all()
    assert (mirrored(mirror).features == market.features).all()


def test_joined_markets_keep_their_episodes(market):
    both = joined([market, mirrored(market)])

    assert len(both.episodes) == 2 * len(market.episodes)
    assert both.symbols == market.symbols * 2
    first, last = both.episodes[len(market.episodes)]
    assert (both.symbol_of[first : last + 1] == len(market.symbols)).all()
    assert (both.features[first] == mirrored(market).features[market.episodes[0, 0]]).all()


def test_span_is_cut_after_its_warm_up_and_embargo(by_symbol):
    stamps = by_symbol["SPY"].ts_close
    part = market_of(by_symbol, after=int(stamps[389]), until=int(stamps[1169]), skip=75)
    spy = part.symbol_of == part.symbols.index("SPY")

    assert (part.ts_close[spy] == stamps[390:1170]).all()
    assert part.ready[spy].tolist() == [False] * 75 + [True] * 705
    assert part.next_return[spy][-1] == 0.0


def test_too_few_bars_are_refused(by_symbol):
    stamps = by_symbol["SPY"].ts_close

    with pytest.raises(ValueError, match="nothing to act on"):
        market_of(by_symbol, until=int(stamps[100]))


def test_endless_market_is_cut_into_short_episodes(by_symbol):
    bars = by_symbol["SPY"]
    endless = replace(bars, session_left=np.full(len(bars), NEVER_CLOSES))

    episodes = market_of({"SPY": endless}, longest=120).episodes

    assert episodes[:2].tolist() == [[186, 305], [306, 425]]
    assert episodes[-1, 1] == len(bars) - 2
