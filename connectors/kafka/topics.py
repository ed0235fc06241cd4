"""The topics: what each holds, by what it is cut into partitions, and how long it is kept.

Those keyed by symbol are not compacted: it would leave the last entry of each symbol.
"""

import msgspec

_DAY_MS = 86_400_000
# A cross-section of 500 symbols with its features is 7 MB.
_LARGEST = str(16 << 20)


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One topic, named without the prefix."""

    name: str
    holds: str
    key: str
    days: int | None  # after which the broker may drop an entry; None: never for its age
    # The later of two entries of one key takes the place of the first, some time afterwards.
    compacted: bool = False

    @property
    def config(self) -> dict[str, str]:
        """The broker's settings of this topic."""
        made = {"max.message.bytes": _LARGEST}
        if self.days is None:
            # Small segments, since the newest one is never compacted: a start reads all of it.
            return made | {
                "cleanup.policy": "compact",
                "segment.bytes": str(32 << 20),
                "segment.ms": "600000",
                "min.cleanable.dirty.ratio": "0.01",
            }
        return made | {
            "cleanup.policy": "compact,delete" if self.compacted else "delete",
            "retention.ms": str(self.days * _DAY_MS),
        }


LOG = Topic(
    name="log",
    holds="each shard's input in one total order: ticks, quotes, Clocks, notices, holes",
    key="symbol",
    days=14,  # beyond the longest time that a market is closed: no state is cut meanwhile
)
FUSED = Topic(
    name="fused",
    holds="each shard's fused cross-sections, which the portfolio reads",
    key="shard",
    days=14,  # as the log
)
STATE = Topic(
    name="state",
    holds="each shard's state behind a bar close, in parts: where a shard that moves goes on",
    key="stage, key and turn",
    days=None,
    compacted=True,
)
DECISION_STATE = Topic(
    name="portfolio-state",
    holds="the same of the portfolio, in partition 0",
    key="stage, key and turn",
    days=None,
    compacted=True,
)
BARRIERS = Topic(
    name="barriers",
    holds="bar closes that were decided without all shards, in partition 0",
    key="none",
    days=14,
)
CONFIG = Topic(
    name="config",
    holds="the configuration that the log was written under, in partition 0",
    key="settings",
    days=None,
    compacted=True,
)
CONTROL = Topic(
    name="control",
    holds="orders of operators, stop and resume, in partition 0; ingest brings them into the log",
    key="none",
    days=7,
)
# An hour of archive's absence costs nothing; a week of it is found out.
SIGNALS = Topic(name="signals", holds="signals", key="symbol", days=7)
PORTFOLIO = Topic(
    name="portfolio",
    holds="the paper portfolio after each decision",
    key="portfolio",  # all in one partition, in order
    days=7,
)
OUTCOMES = Topic(name="outcomes", holds="what came of signals", key="symbol", days=7)
DEAD_LETTERS = Topic(name="dead-letters", holds="refused input", key="symbol", days=7)
ALERTS = Topic(name="alerts", holds="alerts of the stream", key="fingerprint", days=7)
RECORDS = Topic(
    name="records",
    holds="rows of all other tables",
    key="symbol, or the first column of the row's key",
    days=7,
)

INPUTS = (LOG, FUSED, STATE, DECISION_STATE, BARRIERS, CONFIG, CONTROL)
OUTPUTS = (SIGNALS, PORTFOLIO, OUTCOMES, DEAD_LETTERS, ALERTS, RECORDS)
TOPICS = (*INPUTS, *OUTPUTS)
