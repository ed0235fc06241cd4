"""Stages that are made for their key, and whose state can be cut out of the stream.

A *cut* is the state of every stage behind one bar close of a shard: each stage gives its part
when it has handled that close, and nothing that stands later in the log is in it. So a shard
can be taken up elsewhere: its last cut, then the log behind it.
"""

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter_ns
from typing import Any

import bytewax.operators as op
import msgspec
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from models.calendars import ALWAYS_OPEN, sessions
from operators.messages import Bar, Clock, CrossSection, Fused, NoBar, Part
from operators.metrics import timer
from operators.stage import Stage, checkpoint_due, freeze, thaw

type Make = Callable[[str], Stage]
type Wrap = Callable[[str, Part], Any]


class Cuts(msgspec.Struct, frozen=True):
    """When state is cut out, and the parts to begin with."""

    interval_ns: int
    every: int  # bars between two cuts
    restored: Mapping[tuple[str, str], bytes] = {}  # by (stage, key)
    calendar: str = "24/7"

    def due(self, message: Any) -> int | None:
        """Return the bar close behind which `message` asks for a cut.

        None out of session: no bar closes there, and no stage behind the bars has a part.
        """
        kind = type(message)
        if kind is Clock:
            ts_close = message.ts_event
        elif kind is Fused:
            ts_close = message.cross.ts_close
        else:
            ts_close = message.ts_close
        ts_close = ts_close // self.interval_ns * self.interval_ns
        if not checkpoint_due(ts_close, self.interval_ns, self.every):
            return None
        if self.calendar == ALWAYS_OPEN:
            return ts_close
        session = sessions(self.calendar).session_of(ts_close, self.interval_ns)
        return None if session is None else ts_close


# The kinds of message behind which each stage of a shard has handled a bar close.
CUT_ON: dict[str, tuple[type, ...]] = {
    "clocks": (Clock,),
    "quality": (Clock,),
    "bars": (Clock,),
    "indicators": (Bar, NoBar),
    "forecast": (CrossSection,),
    "policy": (CrossSection,),
    "sentiment": (CrossSection,),
    "risk": (Fused,),
    "outcomes": (Part,),  # of risk, which stands behind its decision
    "alerts": (Part,),
}


class _Logic(StatefulBatchLogic[Any, Any, bytes]):
    """Values are (key, message), so that the stage can be made for the key."""

    def __init__(
        self, name: str, make: Make, cuts: Cuts | None, wrap: Wrap | None, resume: bytes | None
    ) -> None:
        self.name = name
        self.make = make
        self.cuts = cuts
        self.wrap = wrap
        self.resume = resume
        self.key = ""
        self.stage: Stage | None = None
        self.timer = timer(name)
        self.marks = CUT_ON.get(name, ()) if cuts is not None else ()
        self.cut_until = 0

    def on_batch(self, values: list[tuple[str, Any]]) -> tuple[Iterable[Any], bool]:
        out: list[Any] = []
        stage = self.stage or self._begin(values[0][0])
        on, add, marks = stage.on, self.timer.add, self.marks
        for _, value in values:
            begin = perf_counter_ns()
            out.extend(on(value))
            add(perf_counter_ns() - begin)
            if type(value) in marks:
                self._cut(stage, value, out)
        return out, StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        stage = self.stage
        return [] if stage is None else list(stage.on_end()), StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        if self.stage is None:
            assert self.resume is not None  # without it Bytewax had no message to make us for
            return self.resume
        return freeze(self.stage)

    def _begin(self, key: str) -> Stage:
        self.key = key
        stage = self.make(key)
        frozen = self.resume
        if frozen is None and self.cuts is not None:
            frozen = self.cuts.restored.get((self.name, key))
        self.stage = stage if frozen is None else thaw(stage, frozen)
        return self.stage

    def _cut(self, stage: Stage, message: Any, out: list[Any]) -> None:
        assert self.cuts is not None
        ts_close = self.cuts.due(message)
        if ts_close is None or ts_close <= self.cut_until:  # a Clock that came twice
            return
        self.cut_until = ts_close
        part = Part(
            stage=self.name,
            key=self.key,
            ts_close=ts_close,
            state=freeze(stage),
            offsets={self.key: message.offset} if self.name == "clocks" else {},
        )
        out.append(part if self.wrap is None else self.wrap(self.key, part))


@operator
def run_keyed(
    step_id: str,
    up: KeyedStream[Any],
    make: Make,
    cuts: Cuts | None = None,
    wrap: Wrap | None = None,
) -> KeyedStream[Any]:
    """Run one stage for each key, made by `make(key)`; recovery or a cut gives its state back.

    `wrap` makes a part look like what the stage gives, where that is not a plain message.
    """
    name = step_id.rsplit(".", 1)[-1]

    def builder(resume: bytes | None) -> _Logic:
        return _Logic(name, make, cuts, wrap, resume)

    return op.stateful_batch("state", op.flat_map_batch("name", up, _named), builder)


def _named(items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(item[0], item) for item in items]
