"""Tell people of alerts, beside the dataflow: from the store to targets, with a record of each.

*At least once; a message that comes twice has the same id.* A message and the alerts that it
stands for are written into the store before it is sent, and marked once it is taken. So a worker
that was killed sends what it may have sent already, in the same words.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import structlog

from connectors.alerts.channel import Channel, ChannelError
from connectors.alerts.messages import Message, Row, compose, event_id
from connectors.alerts.records import silences, standing_process_alerts, write_process_alerts
from connectors.alerts.settings import DeliverySettings
from connectors.alerts.waiting import RULE, last_written, sort_out, waiting
from connectors.resilience import Backoff
from connectors.sinks.store import open_store, transaction
from connectors.sinks.tables import TABLES
from operators.alert_book import AlertBook, Condition
from operators.errors import EngineError
from operators.messages import SECOND, Severity

LOOK = 0.25  # seconds between looks at the store
_LEAVE = 15.0  # seconds for the message that is being sent when told to stop
_PENDING = """
    SELECT * FROM deliveries WHERE target = ? AND state = 'pending' AND severity IN ({severities})
    ORDER BY made_at LIMIT 1
"""

_log = structlog.get_logger(__name__)


class Lane:
    """Alerts of some severities on their way to one target, one message at a time."""

    def __init__(
        self,
        target: str,
        severities: frozenset[str],
        channel: Channel,
        settings: DeliverySettings,
        *,
        run: str = "",
        now: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.target = target
        self.severities = tuple(sorted(severities))
        self.channel = channel
        self.settings = settings
        self.run = run
        self.now = now
        self.clock = clock
        critical = severities == {Severity.CRITICAL}
        self.apart = settings.critical_seconds if critical else settings.group_seconds
        self.gathers = not critical
        self.backoff = Backoff(1.0, settings.most_rest_seconds)
        self._not_before = 0.0  # of the monotonic clock
        self._first_seen: float | None = None
        self._looked_at: tuple[object, ...] | None = None  # where nothing was new
        self._taken = ""  # the last message that the target has accepted
        self.book = AlertBook(  # of this target's being down
            clear_ns=0,
            repeat_ns=round(settings.give_up_seconds) * SECOND,
            rule_per_minute=1,
            total_per_minute=1,
        )

    def step(self, store: sqlite3.Connection) -> bool:
        """Do what is due; return whether there may be more at once.

        Raises:
            StoreError, sqlite3.Error: the store cannot be used; nothing is lost.
        """
        if self.clock() < self._not_before:
            return False
        query = _PENDING.format(severities=_marks(self.severities))
        pending = store.execute(query, (self.target, *self.severities)).fetchone()
        if pending is None:
            return self._form(store)
        self._send(store, dict(pending))
        return True

    def _form(self, store: sqlite3.Connection) -> bool:
        """Make a message of what waits, if it is time."""
        began = self._first_seen
        if began is not None and self.clock() - began < self.settings.group_seconds:
            return False
        silent = silences(store, now=self.now())
        # What fires still is told when its silence ends.
        found = (*last_written(store), frozenset(each.silence_id for each in silent))
        if found == self._looked_at and began is None:
            return False
        rows = waiting(store, self.target, self.severities, silent)
        if not rows:
            self._first_seen, self._looked_at = None, found
            return False
        if self.gathers and began is None:
            self._first_seen = self.clock()
            if self.settings.group_seconds > 0:
                return False
        wanted, skipped = sort_out(
            store, self.target, rows, silent,
            now=self.now(), old_seconds=self.settings.old_seconds,
        )  # fmt: skip
        made = compose(self.target, wanted, self.settings.lines, run=self.run) if wanted else None
        with transaction(store):
            at = self.now()
            routed = [(event_id(row), self.target, why, at) for row, why in skipped]
            if made is not None:
                self._put(store, made, at)
                routed += [(event_id(r), self.target, made.delivery_id, at) for r in made.events]
            store.executemany(TABLES["routed_alerts"].upsert, routed)
        self._first_seen = None
        return True

    def _put(self, store: sqlite3.Connection, made: Message, at: int) -> None:
        worst = min((row["severity"] for row in made.events), key=list(Severity).index)
        row = (made.delivery_id, self.target, worst, at, made.title, made.body, len(made.events))
        store.execute(TABLES["deliveries"].upsert, (*row, "pending", 0, None, ""))

    def _send(self, store: sqlite3.Connection, message: Row) -> None:
        attempts = message["attempts"] + 1
        error = ""
        if message["delivery_id"] != self._taken:  # else only the store does not know yet
            try:
                self.channel.send(message["title"], message["body"])
            except ChannelError as failed:
                error = str(failed)
        # Before the store is told: should it refuse, nothing goes out again before its time.
        if error:
            self._not_before = self.clock() + self.backoff.next()
        else:
            self._taken = message["delivery_id"]
            self._not_before = self.clock() + self.apart
            self.backoff.reset()
        at = self.now()
        given_up = at - message["made_at"] > self.settings.give_up_seconds * SECOND
        state = "delivered" if not error else "failed" if given_up else "pending"
        store.execute(
            "UPDATE deliveries SET state = ?, attempts = ?, tried_at = ?, error = ? "
            "WHERE delivery_id = ?",
            (state, attempts, at, error, message["delivery_id"]),
        )
        self._report(store, attempts, error)
        if error and (given_up or attempts in {1, self.settings.report_after}):
            _log.warning(
                "alert_not_delivered", target=self.target, attempts=attempts, error=error,
                given_up=given_up,
            )  # fmt: skip

    def _report(self, store: sqlite3.Connection, attempts: int, error: str) -> None:
        """Alert that the target is down, and that it is back: other targets are told."""
        self._recall(store)
        holding = []
        if error and (attempts >= self.settings.report_after or self._told):
            facts = {"attempts": attempts, "error": error}
            summary = f"alert target {self.target} is down: {error}"
            holding = [Condition(RULE, Severity.WARNING, self.target, summary, facts)]
        write_process_alerts(store, self.book.judge(self.now(), holding, (RULE,)))

    @property
    def _told(self) -> bool:
        return self.book.firing(RULE, self.target)

    def _recall(self, store: sqlite3.Connection) -> None:
        """Bring the book to what stands in the store: another worker, or lane, may have told it."""
        standing = self.book.state.standing
        standing.clear()
        standing.update(standing_process_alerts(store, (RULE,), self.target))


class DeliveryWorker:
    """All lanes to one target, in a thread of their own: one that hangs holds up no other."""

    def __init__(self, path: Path, target: str, lanes: list[Lane], stop: Event) -> None:
        self.path = path
        self.target = target
        self.lanes = lanes
        self.stop = stop
        self.thread = Thread(target=self._run, name=f"alerts-{target}", daemon=True)

    def _run(self) -> None:
        trouble = ""
        while not self.stop.is_set():
            try:
                with closing(open_store(self.path)) as store:
                    while not self.stop.is_set():
                        if not sum(lane.step(store) for lane in self.lanes):  # each has its turn
                            self.stop.wait(LOOK)
                        trouble = ""
            except (EngineError, sqlite3.Error) as error:
                if str(error) != trouble:
                    _log.warning("alerts_cannot_be_read", target=self.target, error=str(error))
                trouble = str(error)
                self.stop.wait(1.0)


def lanes_of(
    settings: DeliverySettings, channels: Mapping[str, Channel], *, run: str = ""
) -> dict[str, list[Lane]]:
    """Return the lanes of each target: what is critical waits for nothing that is not."""
    made: dict[str, list[Lane]] = {}
    for target, channel in channels.items():
        wanted = settings.routes.severities(target)
        critical = wanted & {str(Severity.CRITICAL)}
        parts = [part for part in (critical, wanted - critical) if part]
        made[target] = [Lane(target, part, channel, settings, run=run) for part in parts]
    return made


def deliver(
    path: Path,
    settings: DeliverySettings,
    channels: Mapping[str, Channel],
    stop: Event,
    *,
    run: str = "",
) -> None:
    """Tell `channels`, by target, of the alerts in the store at `path` until `stop` is set."""
    workers = [
        DeliveryWorker(path, target, lanes, stop)
        for target, lanes in lanes_of(settings, channels, run=run).items()
        if lanes
    ]
    for worker in workers:
        worker.thread.start()
    stop.wait()
    deadline = time.monotonic() + _LEAVE
    for worker in workers:
        worker.thread.join(max(deadline - time.monotonic(), 0.1))


def _marks(values: tuple[str, ...]) -> str:
    return ", ".join("?" * len(values))
