"""A recovery store that fails is told in one sentence."""

from datetime import timedelta

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from bytewax.testing import TestingSink, TestingSource

from flows.recovery_faults import telling_of
from operators.errors import StoreError
from tests.small_disk import small_disks

LARGE = bytes(1 << 20)


def run(recovery):
    """Run a flow whose state takes a megabyte, and return what came out of it."""
    flow = Dataflow("test")
    out = []
    numbers = op.input("in", flow, TestingSource([("a", 1), ("a", 2)]))
    kept = op.stateful_map("keep", numbers, lambda _, number: (LARGE, number))
    op.output("out", kept, TestingSink(out))
    with telling_of(recovery):
        cli_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(recovery)))
    return out


def test_full_disk_says_to_make_room(tmp_path):
    recovery = tmp_path / "run.sqlite.recovery"
    with small_disks() as mount:
        mount(recovery, "size=500k")
        init_db_dir(recovery, 1)
        with pytest.raises(StoreError) as told:
            run(recovery)
        mount(recovery, "size=50m")
        assert run(recovery) == [("a", 1), ("a", 2)]

    assert str(told.value) == (
        f"{recovery} could not be written: the disk is full; make room and start again, the run "
        "will resume"
    )


def test_other_failures_are_left_as_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="mine"), telling_of(tmp_path):
        raise RuntimeError("mine")
    with pytest.raises(RuntimeError, match="SqliteFailure"), telling_of(None):
        raise RuntimeError("SqliteFailure of somebody else")
