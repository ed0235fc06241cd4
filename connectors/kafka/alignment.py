"""Keep the shards of a process together in event time, while they catch up."""


class Alignment:
    """Say which shards are so far ahead that they wait for the slowest one.

    Shards meet again behind this source, by bar close; one that runs ahead would fill memory
    with what waits for the others. A shard at the end of its log holds nobody back: it has
    nothing to give.

    >>> alignment = Alignment(ahead_ns=10)
    >>> for shard in (0, 1):
    ...     alignment.begin(shard)
    >>> alignment.clock(0, 100)
    >>> alignment.waits(0), alignment.waits(1)
    (True, False)
    >>> alignment.clock(1, 90)
    >>> alignment.waits(0)
    False
    """

    def __init__(self, ahead_ns: int, *, patient: bool = False) -> None:
        """Take how far ahead of the slowest a shard may run.

        With `patient` also a shard at the end of its log is waited for: more will come.
        """
        self.ahead_ns = ahead_ns
        self.patient = patient
        self.clocks: dict[int, int] = {}  # the last Clock of each shard, 0 before its first
        self.resting: set[int] = set()  # at the end of their logs

    def begin(self, shard: int) -> None:
        """Count a shard in."""
        self.clocks[shard] = 0

    def end(self, shard: int) -> None:
        """Count a shard out: it gives nothing more."""
        self.clocks.pop(shard, None)

    def clock(self, shard: int, ts_event: int) -> None:
        """Take note of a shard's Clock."""
        self.clocks[shard] = max(self.clocks[shard], ts_event)

    def rest(self, shard: int, *, resting: bool) -> None:
        """Take note of whether a shard is at the end of its log."""
        (self.resting.add if resting else self.resting.discard)(shard)

    def waits(self, shard: int) -> bool:
        """Say whether a shard must wait for another one."""
        limit = self.clocks[shard] - self.ahead_ns
        return any(
            clock < limit
            for other, clock in list(self.clocks.items())  # other threads may add theirs
            if other != shard and (self.patient or other not in self.resting)
        )
