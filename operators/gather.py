"""Shards' scores become the universe's again, once a bar close is complete or waits no longer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec
import numpy as np

from operators.frozen import Migration
from operators.headlines import headline_of, joined
from operators.messages import (
    Barrier,
    CrossSection,
    Floats,
    Fused,
    Leg,
    Notice,
    Part,
    Tally,
)
from operators.stage import checkpoint_due


@dataclass(slots=True)
class GatherState:
    """What has come of bar closes that are not complete, and how far each shard is."""

    done: int = 0  # the last bar close that was given on
    pending: dict[int, dict[int, Fused]] = field(default_factory=dict)  # by ts_close and shard
    reached: dict[int, int] = field(default_factory=dict)  # by shard: its last ts_close
    barriers: dict[int, tuple[int, ...]] = field(default_factory=dict)
    missed: dict[int, int] = field(default_factory=dict)  # by shard: closes decided without it
    offsets: dict[str, int] = field(
        default_factory=dict
    )  # by shard: of its last `Fused` up to done


class Gather:
    """Join the shards' `Fused` of one bar close into one, rows in the universe's order.

    A shard gives its closes in order, so one that is past a bar close has nothing more to say
    of it. A close is complete when every shard has reached it, or every shard that its
    `Barrier` names. What comes of a close that is done is dropped; a `Tally` counts the closes
    decided without a shard. Other messages pass through.

    At cuts a `Part` follows that tells where in each shard's stream the close stood.
    """

    # Orders have gained fields since, which are absent in those of before.
    migrations: ClassVar[dict[str, Migration]] = {"1-d9eaa39cda84": Migration(lambda state: state)}

    def __init__(
        self,
        shards: Mapping[str, tuple[str, ...]],
        symbols: tuple[str, ...],
        checkpoint_every: int = 0,
        *,
        done: int = 0,
        barriers: Iterable[Barrier] = (),
    ) -> None:
        """Take the symbols of each shard, and the universe in its order.

        `done` is the close to go on behind, `barriers` those written before a restart.
        """
        self.wanted = {int(shard) for shard, own in shards.items() if own}
        self.symbols = symbols
        self.row = {symbol: row for row, symbol in enumerate(symbols)}
        self.checkpoint_every = checkpoint_every
        self.state = GatherState(done=done)
        for barrier in barriers:
            self._bar(barrier)

    def on(self, message: Any) -> Iterable[Any]:
        """Take a shard's `Fused` or a `Barrier`; return the closes that are complete now."""
        state = self.state
        if isinstance(message, Barrier):
            self._bar(message)
            return self._complete()
        if not isinstance(message, Fused):
            return (message,)
        cross = message.cross
        state.reached[cross.shard] = max(cross.ts_close, state.reached.get(cross.shard, 0))
        if cross.ts_close > state.done:
            # The first copy counts: behind it stands all that its writer sent later, while
            # one of a writer that was replaced may stand behind its successor's.
            state.pending.setdefault(cross.ts_close, {}).setdefault(cross.shard, message)
        else:
            known = state.offsets.get(str(cross.shard), 0)
            state.offsets[str(cross.shard)] = max(known, message.offset)
        return self._complete()

    def on_end(self) -> Iterable[Any]:
        """Report nothing: an incomplete close is none."""
        return ()

    def _bar(self, barrier: Barrier) -> None:
        if barrier.ts_close > self.state.done:
            self.state.barriers.setdefault(barrier.ts_close, barrier.shards)

    def _complete(self) -> Iterable[Any]:
        state = self.state
        out: list[Any] = []
        for ts_close in sorted(state.pending):
            waits_for = self.wanted.intersection(state.barriers.get(ts_close, self.wanted))
            if any(state.reached.get(shard, 0) < ts_close for shard in waits_for):
                break  # risk is a path: a later close never overtakes
            came = state.pending.pop(ts_close)
            state.done = ts_close
            state.offsets |= {str(shard): fused.offset for shard, fused in came.items()}
            state.barriers = {ts: of for ts, of in state.barriers.items() if ts > ts_close}
            # Not those that came although the barrier was written without them.
            rows = [came[shard] for shard in sorted(came) if shard in waits_for]
            if not rows:
                continue
            merged = self._merged(rows)
            out.append(merged)
            out.extend(self._missed(waits_for.intersection(came)))
            if self.checkpoint_every and checkpoint_due(
                ts_close, merged.cross.interval, self.checkpoint_every
            ):
                out.append(
                    Part(
                        stage="gather",
                        key="portfolio",
                        ts_close=ts_close,
                        state=b"",
                        offsets=dict(state.offsets),
                    )
                )
        return out

    def _missed(self, present: set[int]) -> Iterable[Tally]:
        for shard in sorted(self.wanted - present):
            count = self.state.missed[shard] = self.state.missed.get(shard, 0) + 1
            yield Tally(key=f"shard/{shard}", name="missed_closes", count=count)

    def _merged(self, rows: list[Fused]) -> Fused:
        size = len(self.symbols)
        first = rows[0]
        places = [
            np.array([self.row[symbol] for symbol in fused.cross.symbols], np.int64)
            for fused in rows
        ]

        def column(parts: list[Any], fill: Any, kind: Any) -> Any:
            whole = np.full((*parts[0].shape[:-1], size), fill, kind)
            for place, part in zip(places, parts, strict=True):
                whole[..., place] = part
            return whole

        def floats(parts: list[Floats], fill: float = 0.0) -> Any:
            return column(parts, fill, np.float64)

        bars: list[Any] = [None] * size
        for place, fused in zip(places, rows, strict=True):
            for row, bar in zip(place.tolist(), fused.cross.bars, strict=True):
                bars[row] = bar
        crosses = [fused.cross for fused in rows]
        cross = CrossSection(
            shard=0,
            ts_close=first.cross.ts_close,
            interval=first.cross.interval,
            symbols=self.symbols,
            bars=tuple(bars),
            features=np.zeros((size, 0, 0), np.float32),  # have been read, by each shard
            volatility=floats([each.volatility for each in crosses]),
            ready=column([each.ready for each in crosses], fill=False, kind=np.bool_),
            notices=_notices(crosses, self.row),
            repaired=tuple(
                sorted(
                    (repaired for each in crosses for repaired in each.repaired),
                    key=lambda repaired: (repaired.symbol, repaired.known_at),
                )
            ),
        )
        legs = []
        for index, leg in enumerate(first.legs):
            own = [fused.legs[index] for fused in rows]
            names = sorted({name for each in own for name in each.detail})
            unknown = [np.full(len(each.value), np.nan) for each in own]
            legs.append(
                Leg(
                    name=leg.name,
                    ts_close=leg.ts_close,
                    value=floats([each.value for each in own]),
                    certainty=floats([each.certainty for each in own]),
                    skill=leg.skill,
                    abstains=column([each.abstains for each in own], fill=True, kind=np.bool_),
                    detail={
                        name: floats(
                            [
                                each.detail.get(name, nothing)
                                for each, nothing in zip(own, unknown, strict=True)
                            ],
                            np.nan,
                        )
                        for name in names
                    },
                    model=leg.model,
                )
            )
        return Fused(
            cross=cross,
            legs=tuple(legs),
            weights=floats([fused.weights for fused in rows]),
            score=floats([fused.score for fused in rows]),
            confidence=floats([fused.confidence for fused in rows]),
            disagreement=floats([fused.disagreement for fused in rows]),
        )


def _notices(crosses: list[CrossSection], row: Mapping[str, int]) -> tuple[Notice, ...]:
    """Return each notice once, with the symbols that it concerns in all shards together."""
    by_offset: dict[int, list[Notice]] = {}
    for cross in crosses:
        for notice in cross.notices:
            by_offset.setdefault(notice.offset, []).append(notice)
    return tuple(_joined(by_offset[offset], row) for offset in sorted(by_offset))


def _joined(copies: list[Notice], row: Mapping[str, int]) -> Notice:
    first = copies[0]
    head = headline_of(first.body)
    if head is None or not head.symbols:
        return first
    body: Any = joined([copy.body for copy in copies], row)
    return msgspec.structs.replace(first, body=body)
