"""The trainer keeps its splits apart, repeats with its seed, and fills the manifest."""

import numpy as np
import pytest

from models import runtime
from models.lstm_transformer import samples
from models.schema import WINDOW
from tests.support import EQKER, MINUTE

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from models.lstm_transformer import fitting, train  # noqa: E402 - needs torch
from models.lstm_transformer.calibration import conformal, weigh_doubt  # noqa: E402
from models.lstm_transformer.network import Network, Shape, quantiles  # noqa: E402
from models.lstm_transformer.validation import learn_space  # noqa: E402

HORIZON = samples.HORIZONS["1m"]
SOURCE = samples.Source(
    name="eqker",
    path=EQKER.name,
    calendar="XNYS",
    cuts=("2019-02-13", "2019-02-14", "2019-02-15"),
    until="2019-02-16",
    stride=2,
    tz="America/New_York",
    first_symbols=3,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def few(monkeypatch):
    """Train small, on three symbols and five sessions."""
    monkeypatch.setitem(samples.SOURCES, "1m", (SOURCE,))
    monkeypatch.setitem(fitting.RECIPES, "1m", fitting.Recipe(epochs=1, batch=64, checks=1))
    monkeypatch.setattr(train, "Shape", lambda: Shape(width=8, heads=2, members=2))


@pytest.fixture
def stack(few, cache):
    return samples.assemble("1m", EQKER.parent, cache)


def test_splits_follow_in_time_and_no_label_reaches_into_the_next(stack):
    ends = None
    for use in samples.USES:
        part = stack.splits[use]
        assert len(part) > 50
        if ends is not None:
            assert part.ts_close.min() > ends
        ends = part.ts_close.max() + HORIZON * MINUTE


def test_after_a_cut_a_window_and_a_horizon_are_left_out(stack):
    for use, cut in zip(samples.USES[1:], SOURCE.cuts, strict=True):
        opens = samples.nanoseconds(f"{cut}T14:30")
        first = stack.splits[use].ts_close.min()
        assert (first - opens) // MINUTE > WINDOW + HORIZON - 1


def test_windows_hold_the_rows_up_to_their_moment(stack):
    part = stack.splits["test"].take(np.arange(5))

    windows = stack.windows(part)

    assert windows.shape[:2] == (5, WINDOW)
    np.testing.assert_array_equal(windows[:, -1], stack.inputs[part.rows])
    assert np.isfinite(windows).all()


def test_the_neutral_target_has_no_market_in_it(stack):
    part = stack.splits["fit"]
    gap = part.target - part.neutral

    for moment in np.unique(part.ts_close)[::40]:
        of_moment = gap[part.ts_close == moment]
        np.testing.assert_allclose(of_moment, of_moment[0], atol=1e-12)


def test_training_repeats_with_its_seed_and_writes_a_usable_artefact(few, cache, tmp_path):
    folders = [tmp_path / name for name in ("first", "again", "other")]
    for folder, seed in zip(folders, (7, 7, 8), strict=True):
        folder.mkdir()
        train.train("1m", EQKER.parent, folder, cache, seed=seed)
    first, again, other = (
        runtime.load("forecast_1m", kind="forecast", interval=MINUTE, folder=folder)
        for folder in folders
    )

    finished = tmp_path / "finished"  # from the weights of the first
    finished.mkdir()
    train.train("1m", EQKER.parent, finished, cache, seed=7, weights=folders[0])

    assert first.entry == again.entry
    assert runtime.load("forecast_1m", kind="forecast", folder=finished).entry == first.entry
    assert first.entry["sha256"] != other.entry["sha256"]
    assert first.entry["parity"] <= first.entry["tolerance"]
    assert min(first.entry["hidden"]["limits"]) > 0.5
    assert first.entry["doubt"] >= 0.5
    for side in ("below", "above"):
        assert (np.diff(first.entry["widths"][side]) >= 0.0).all()
        assert np.interp(0.9, np.linspace(0, 1, 101), first.entry["widths"][side]) == (
            pytest.approx(1.0, abs=0.1)
        )
    assert first.entry["metrics"]["better_than"].keys() == {
        "logistic", "momentum", "logistic, relative features",
    }  # fmt: skip
    assert {each["use"] for each in first.entry["seen"]} == {"fit", "tune", "calibrate"}
    assert set(first.entry["trained_on"]["files"]) >= {f"{EQKER.name}/AAPL_1min.csv"}


def test_weights_of_another_fit_are_refused(few, cache, tmp_path):
    train.train("1m", EQKER.parent, tmp_path, cache, seed=7)

    with pytest.raises(ValueError, match="expected a fit of"):
        train.train("1m", EQKER.parent, tmp_path, cache, seed=8, weights=tmp_path)


def test_quantiles_never_cross():
    raw = torch.randn(200, 5, generator=torch.Generator().manual_seed(1)) * 20

    assert (quantiles(raw).diff(dim=1) >= 0).all()


def test_conformal_quantiles_miss_no_more_often_than_they_may():
    generator = np.random.default_rng(2)
    missed = []
    for _ in range(300):
        known, later = generator.exponential(size=49), generator.exponential(size=200)
        missed.append((later > conformal(known, miss=0.1)).mean())

    assert 0.07 < np.mean(missed) <= 0.1  # by the plain quantile it is 0.12


def test_members_that_disagree_take_from_an_edge_what_they_are_not_sure_of():
    generator = np.random.default_rng(3)
    doubt = np.abs(generator.normal(size=20_000)) * 0.2
    truth = generator.normal(size=20_000) * 0.05
    edge = truth + 0.5 * doubt * generator.normal(size=20_000)  # as wrong as members disagree
    rose = generator.random(20_000) < 0.5 + truth / 2

    assert weigh_doubt(edge, doubt, rose) > 0.5
    assert weigh_doubt(truth, doubt, rose) == 0.5  # wrong to doubt: the least there is


def test_states_of_the_fit_lie_about_one_from_their_centre(stack):
    torch.manual_seed(4)
    network = Network(Shape(width=8, members=2)).eval()
    fit = stack.splits["fit"]

    learn_space(network, stack, fit)

    with torch.no_grad():
        hidden, tokens = network.states(torch.from_numpy(stack.windows(fit)))
        found = network.strangeness(hidden, tokens).square().mean(0)
        of_tokens = network.strangeness(hidden, tokens[:, :, -1:]).square().mean(0)[1]
    # One but for the shrinkage, which takes from directions that hardly vary.
    assert 0.5 < float(found[0]) < 1.01
    assert 0.5 < float(of_tokens) < 1.01
    assert float(found[1]) > float(of_tokens)  # the strangest of twenty


def test_the_network_ignores_masked_features():
    torch.manual_seed(3)
    network = Network(Shape(width=8, members=1)).eval()
    network.mask[5] = 0.0
    windows = torch.randn(4, WINDOW, network.shape.features)
    changed = windows.clone()
    changed[:, :, 5] += 3.0

    with torch.no_grad():
        for one, other in zip(network(windows), network(changed), strict=True):
            assert torch.equal(one, other)
