"""Ablations leave out what they say, and are measured on the same draws as the whole."""

import numpy as np
import pytest

from models.lstm_transformer.samples import Samples

torch = pytest.importorskip("torch")

from models.lstm_transformer.ablations import (  # noqa: E402 - needs torch
    STRAIGHT,
    VARIANTS,
    VOLUME,
    WHOLE,
    compared,
    table,
)
from models.lstm_transformer.network import Member, Shape  # noqa: E402
from models.schema import FEATURES, WINDOW  # noqa: E402

DAY = 86_400_000_000_000


@pytest.mark.parametrize(
    ("branches", "idle"), [("lstm", "encoder"), ("transformer", "lstm"), ("both", None)]
)
def test_a_branch_that_is_left_out_takes_no_part(branches, idle):
    torch.manual_seed(1)
    member = Member(Shape(width=8, members=1, branches=branches)).eval()
    windows = torch.randn(3, WINDOW, len(FEATURES))
    with torch.no_grad():
        before = member(windows)
        for name in ("lstm", "encoder"):
            for weights in getattr(member, name).parameters():
                weights.mul_(1.5)
            same = torch.equal(before, member(windows))
            assert same == (name == idle)
            before = member(windows)


def test_what_is_left_out_of_the_input_is_among_the_features():
    assert set(VOLUME) <= set(FEATURES)
    assert VARIANTS["without volume"].left_out == VOLUME


def test_a_variant_is_compared_with_the_whole_on_the_same_days():
    generator = np.random.default_rng(6)
    count, days = 4_000, 8
    returns = generator.normal(size=count)
    samples = Samples(
        rows=np.arange(count),
        ts_close=np.arange(count) * days // count * DAY,
        symbol=np.zeros(count, np.int64),
        returns=returns,
        target=returns,
        neutral=returns,
    )
    good = returns + 5.0 * generator.normal(size=count)
    noise = generator.normal(size=count)

    found = compared({WHOLE: good, STRAIGHT: noise}, samples)

    assert found[WHOLE]["ic less whole"] == [0.0, 0.0, 0.0]
    assert found[STRAIGHT]["ic less whole"][2] < 0.0
    assert found[STRAIGHT]["ic less whole"][0] == pytest.approx(
        found[STRAIGHT]["ic"][0] - found[WHOLE]["ic"][0]
    )
    assert found[WHOLE]["auc"][1] > 0.5
    assert table(found).count("\n") == 3
