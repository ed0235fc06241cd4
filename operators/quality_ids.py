"""What quality remembers of one tape's trade ids, and the gaps that they prove.

Asking changes nothing; `accept` remembers a trusted trade, `suspect` a rejected one, as a hint
that a leap may be real.
"""

from bisect import bisect_right
from dataclasses import dataclass, field

from operators.messages import Gap, Tick
from operators.quality_limits import QualityLimits


@dataclass(slots=True)
class OpenGap:
    """Missing trade ids, and those of them that have not come since."""

    first_id: int
    last_id: int
    ts_from: int
    ts_to: int
    missing: list[tuple[int, int]]  # inclusive, ascending
    owed: bool = True  # False before the first id we saw: nobody promised us those
    filled: int = 0

    def lacks(self, trade_id: int) -> bool:
        """Say whether this id is still missing."""
        place = bisect_right(self.missing, (trade_id, 1 << 63)) - 1
        return place >= 0 and trade_id <= self.missing[place][1]

    def fill(self, trade_id: int) -> None:
        """Note that a missing id came after all."""
        place = bisect_right(self.missing, (trade_id, 1 << 63)) - 1
        low, high = self.missing[place]
        self.missing[place : place + 1] = [
            part for part in ((low, trade_id - 1), (trade_id + 1, high)) if part[0] <= part[1]
        ]
        self.filled += 1


@dataclass(slots=True)
class IdMemory:
    """Which trade ids of one tape were seen: all of [first, last] but the gaps' missing ones."""

    first: int = 0
    last: int = -1
    accepted: int = 0
    ts_last: int = 0
    gaps: list[OpenGap] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)  # leaping ids in a row, each near the last

    def seen(self, trade_id: int) -> bool:
        """Say whether this id came before."""
        return self.first <= trade_id <= self.last and not any(
            gap.lacks(trade_id) for gap in self.gaps
        )

    def leaps(self, trade_id: int, limits: QualityLimits, ts: int = 0) -> bool:
        """Say whether this id, of a trade at `ts`, is further off than one message can prove."""
        pause = max(ts - self.ts_last, limits.id_leap_per_ns)
        reach = limits.max_id_leap * pause // max(limits.id_leap_per_ns, 1)
        if self.accepted < limits.id_confirmations:  # nothing to judge by yet
            return False
        if self.first - reach <= trade_id <= self.last + reach:
            return False
        return len(self.near(trade_id, reach)) < limits.id_confirmations - 1

    def near(self, trade_id: int, reach: int) -> list[int]:
        """Return the pending ids if this one follows the last of them closely, else none."""
        follows = self.pending and 0 < trade_id - self.pending[-1] <= reach
        return self.pending if follows else []

    def suspect(self, trade_id: int, reach: int) -> None:
        """Remember an id that leaps, in case more follow."""
        self.pending = [*self.near(trade_id, reach), trade_id][-8:]

    def accept(self, tick: Tick, limits: QualityLimits) -> Gap | None:
        """Remember an accepted trade; return the gap that it proves, or fills in part."""
        trade_id = tick.trade_id
        assert trade_id is not None  # the caller asked
        self.accepted += 1
        before, ts_before = self.last, self.ts_last
        # A trade fetched for an older gap says nothing about where the stream is.
        current = not tick.backfilled or trade_id > before
        if current:
            self.pending.clear()
            self.ts_last = tick.ts_event
        if trade_id == before + 1 and self.accepted > 1:
            self.last = trade_id
            return None
        far = not self.first - limits.max_id_leap <= trade_id <= before + limits.max_id_leap
        # Until three were accepted no id is believed more than another: begin anew.
        if self.accepted == 1 or (far and self.accepted <= limits.id_confirmations):
            self.first = self.last = trade_id
            self.gaps.clear()
            return None
        if trade_id > before:
            self.last = trade_id
            span = (before + 1, trade_id - 1)
            gap = OpenGap(*span, ts_before, tick.ts_event, [span])
            self.gaps = [*self.gaps, gap][-limits.open_gaps :]
            return self._report(tick, gap)
        if trade_id < self.first:
            span = (trade_id + 1, self.first - 1)
            self.first = trade_id
            if span[0] <= span[1]:
                gap = OpenGap(*span, tick.ts_event, ts_before, [span], owed=False)
                self.gaps = [*self.gaps, gap][-limits.open_gaps :]
            return None
        for gap in self.gaps:
            if gap.lacks(trade_id):
                gap.fill(trade_id)
                if not gap.missing:
                    self.gaps.remove(gap)
                return self._report(tick, gap) if gap.owed else None
        return None

    @staticmethod
    def _report(tick: Tick, gap: OpenGap) -> Gap:
        return Gap(
            symbol=tick.symbol,
            venue=tick.venue,
            first_id=gap.first_id,
            last_id=gap.last_id,
            ts_from=gap.ts_from,
            ts_to=gap.ts_to,
            filled=gap.filled,
        )
