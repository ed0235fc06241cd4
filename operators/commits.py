"""Gather the parts of a cut; once all are there, the cut is good to go on from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from operators.messages import Commit, Fused, Part

_MOST = 4  # cuts in the making; a shard's stages are less than one apart


@dataclass(slots=True)
class CommitState:
    """Parts of cuts that are not complete, by bar close."""

    waiting: dict[int, list[Part]] = field(default_factory=dict)
    fused: set[int] = field(default_factory=set)  # closes whose `Fused` has passed


class Commits:
    """Let everything pass; send a shard's parts once all have come, with a `Commit` behind.

    What the shard made of the log up to that bar close has passed before: whoever writes in
    this order, and has the commit only once all before it is safe, can lose nothing.

    >>> stage = Commits("3", frozenset({("policy", "3")}), 100)
    >>> part = Part(stage="policy", key="3", ts_close=100, state=b"")
    >>> stage.on(part)
    ()
    """

    def __init__(self, key: str, wanted: frozenset[tuple[str, str]], every_ns: int) -> None:
        """Take the (stage, key) of all parts, and how far apart cuts are."""
        self.key = key
        self.wanted = wanted
        self.every_ns = every_ns
        self.state = CommitState()

    def on(self, message: Any) -> Iterable[Any]:
        """Keep a `Part` until the others have come, and pass on what is none."""
        state = self.state
        if isinstance(message, Part):
            state.waiting.setdefault(message.ts_close, []).append(message)
            while len(state.waiting) > _MOST:  # cuts that never became whole
                del state.waiting[min(state.waiting)]
            return self._complete(message.ts_close)
        if isinstance(message, Fused) and message.cross.ts_close % self.every_ns == 0:
            state.fused.add(message.cross.ts_close)
            return (message, *self._complete(message.cross.ts_close))
        return (message,)

    def on_end(self) -> Iterable[Any]:
        """Report nothing: an incomplete cut is none."""
        return ()

    def _complete(self, ts_close: int) -> Iterable[Any]:
        state = self.state
        parts = state.waiting.get(ts_close, [])
        if ts_close not in state.fused or len(parts) < len(self.wanted):
            return ()
        if {(part.stage, part.key) for part in parts} != self.wanted:
            return ()
        for ts in [ts for ts in state.waiting if ts <= ts_close]:
            del state.waiting[ts]
        state.fused = {ts for ts in state.fused if ts > ts_close}
        offsets = {key: offset for part in parts for key, offset in part.offsets.items()}
        commit = Commit(key=self.key, ts_close=ts_close, parts=len(parts), offsets=offsets)
        return (*parts, commit)


def latest(entries: Iterable[Part | Commit], key: str) -> tuple[Commit, list[Part]] | None:
    """Return the last complete cut of `key` among `entries`, given in the order written."""
    parts: dict[int, list[Part]] = {}
    best: tuple[Commit, list[Part]] | None = None
    for entry in entries:
        if isinstance(entry, Part):
            parts.setdefault(entry.ts_close, []).append(entry)
        elif entry.key == key:
            found = {(part.stage, part.key): part for part in parts.get(entry.ts_close, [])}
            if len(found) == entry.parts and (best is None or entry.ts_close >= best[0].ts_close):
                best = entry, list(found.values())
                for ts in [ts for ts in parts if ts < entry.ts_close]:
                    del parts[ts]
    return best


def restored(parts: Iterable[Part]) -> Mapping[tuple[str, str], bytes]:
    """Return the states of parts by (stage, key), as `Cuts` takes them."""
    return {(part.stage, part.key): part.state for part in parts}
