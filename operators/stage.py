"""The thin shell between a pure stage and Bytewax.

A stage is plain Python: `on(message)` returns what follows from it, and everything that
must survive a restart lives in `self.state`. Ours to test without Bytewax; the adapter
below adds keyed state, recovery and the time each stage took.
"""

from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any, Protocol

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from operators.frozen import pack, unpack
from operators.metrics import timer


class Stage(Protocol):
    """What every stage offers.

    `state` is plain and picklable. `on` never changes its message, reads no clock and
    draws nothing at random, so the same messages give the same results.
    """

    state: Any

    def on(self, message: Any) -> Iterable[Any]:
        """Take one message and return what follows from it, in order."""
        ...

    def on_end(self) -> Iterable[Any]:
        """Return what to report when input ends; it must not close bars."""
        ...


def freeze(stage: Stage) -> bytes:
    """Return the stage's state as bytes that later changes cannot touch."""
    return pack(type(stage), stage.state)


def thaw(stage: Stage, frozen: bytes) -> Stage:
    """Put a frozen state back into a fresh `stage`, and return it.

    Raises:
        operators.frozen.StateError: the state is damaged, or of another shape than today's.
    """
    stage.state = unpack(type(stage), type(stage.state), frozen)
    return stage


class _Logic(StatefulBatchLogic[Any, Any, bytes]):
    def __init__(self, name: str, stage: Stage) -> None:
        self.name = name
        self.stage = stage
        self.timer = timer(name)

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        out: list[Any] = []
        on = self.stage.on
        for value in values:
            begin = perf_counter_ns()
            out.extend(on(value))
            self.timer.add(perf_counter_ns() - begin)
        return out, StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return list(self.stage.on_end()), StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        return freeze(self.stage)


@operator
def run_stage(
    step_id: str,
    up: KeyedStream[Any],
    make: Callable[[], Stage],
) -> KeyedStream[Any]:
    """Run one stage for each key: `make()` builds it, recovery gives its state back."""

    def builder(resume: bytes | None) -> _Logic:
        stage = make()
        return _Logic(step_id.rsplit(".", 1)[-1], stage if resume is None else thaw(stage, resume))

    return op.stateful_batch("state", up, builder)


def checkpoint_due(ts_close: int, interval: int, every: int) -> bool:
    """Say whether stages write a checkpoint after this bar: all at the same bars.

    >>> [checkpoint_due(ts, 1, 3) for ts in (5, 6, 7)]
    [False, True, False]
    """
    return (ts_close // interval) % every == 0
