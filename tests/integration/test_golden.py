"""What is decided today is what was decided when the models were shipped."""

import json

import pytest

from tests.integration import golden


@pytest.mark.parametrize("place", [0, 1], ids=["binance", "equities"])
def test_replay_equals_its_golden_file(tmp_path, place):
    name, settings, paths = list(golden.cases(tmp_path))[place]
    expected = json.loads((golden.GOLDEN / f"{name}.json").read_text())
    found = golden.decided(settings, paths, tmp_path / "run.sqlite")
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[:3] == theirs[:3]
        assert ours[6] == theirs[6]
        # Another kind of processor may round the last bits otherwise.
        assert ours[3:6] == pytest.approx(theirs[3:6], abs=1e-5)
        assert ours[7] == pytest.approx(theirs[7], rel=1e-12)
