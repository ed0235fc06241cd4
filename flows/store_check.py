"""Do the stores hold what the warm store holds? And if not: write it there again."""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import batched
from pathlib import Path

import msgspec

from connectors.secrets import Secret
from connectors.sinks.compare import SHOWN, Comparison, Difference, Key, differences, stored_rows
from connectors.sinks.influxdb_points import MEASUREMENTS
from connectors.sinks.outbox_files import Overrun, clear_overrun, overruns
from connectors.sinks.outbox_waiting import Waiting, waiting
from connectors.sinks.refused_rows import FILE_NAME, count_refused
from connectors.sinks.retention import forgotten
from connectors.sinks.sqlite import DAY, Row
from connectors.sinks.store import open_store
from connectors.sinks.tables import TABLES
from connectors.sinks.tiers import ColdTier, HotTier, Tier
from connectors.sinks.writers import RowRefused, Rows, Writer
from flows.delivery import outbox_folder
from flows.runs import run_settings
from flows.secret_lookup import find_secret
from flows.services import Services, writers_of
from operators.errors import SettingsError

ANALYTICS = "influxdb"  # gives nothing back that could be compared
LOOKS = 3  # at what differs: a row may be on its way
SETTLE = 1.0  # seconds between them
_MANY = 10_000  # differences are none of rows on their way
_BATCH = 1000  # rows


class StoreReport(msgspec.Struct, kw_only=True):
    """What was found of one store; times are UNIX ns, `since` included and `until` not."""

    store: str
    since: int | None = None  # None: from the beginning
    until: int | None = None  # None: to the end
    tables: dict[str, Comparison] = {}  # none of a store that gives nothing back
    waiting: int = 0  # rows, in the outbox
    expired: int = 0  # signals that the hot tier has let go by its own clock
    refused: int = 0  # rows, in the file beside the outbox
    overrun: Overrun | None = None  # the mark of rows that it never got
    repaired: int = 0  # rows that were written again
    not_repaired: list[str] = []  # why a row was refused once more; the first few

    @property
    def same(self) -> bool:
        """Whether nothing is known that it lacks, or has too much."""
        return self.overrun is None and all(told.same for told in self.tables.values())


def check_stores(path: Path, services: Services, *, repair: bool = False) -> list[StoreReport]:
    """Compare the warm store at `path` with the others, over the time that both keep.

    A run may write meanwhile: what waits in its outbox is not compared, and what differs is
    looked at again. With `repair` what a store lacks is written to it from the warm store, and
    the report is of the time afterwards; what it has too much stays.

    Raises:
        SettingsError: no store is named.
        StoreError, StoreDown, StoreRefused: a store cannot be read, or not be written.
    """
    tiers = _tiers(services)
    if not services.stores:
        raise SettingsError(
            "there is no store to compare with: name a file with a table [redis], [postgresql] "
            "or [influxdb] by --services, or by NEXTGEN_SERVICES"
        )
    with closing(open_store(path, readonly=True)) as warm:
        reports = []
        for tier in tiers:
            with tier:
                check = _Check(warm, outbox_folder(path), tier)
                report = check.report()
                if repair and not report.same:
                    report = check.repaired(_writer(services, tier.name), report)
                reports.append(report)
        if services.influxdb is not None:
            report = _of_outbox(outbox_folder(path), ANALYTICS)[0]
            if repair and report.overrun is not None:
                _repair_analytics(warm, outbox_folder(path), services, report)
            reports.append(report)
    return reports


def _tiers(services: Services) -> list[Tier]:
    made: list[Tier] = []
    if services.redis is not None:
        made.append(HotTier(services.redis, find_secret("REDIS_PASSWORD")))
    if services.postgresql is not None:
        password = find_secret("POSTGRESQL_PASSWORD") or Secret()
        made.append(ColdTier(services.postgresql, password))
    return made


def _of_outbox(folder: Path, name: str) -> tuple[StoreReport, Waiting]:
    """Return what the run's outbox says of a store."""
    waits = waiting(folder, name)
    report = StoreReport(
        store=name,
        waiting=waits.rows,
        refused=count_refused(folder / FILE_NAME)[name],
        overrun=overruns(folder).get(name),
    )
    return report, waits


class _Check:
    """One tier beside the warm store."""

    def __init__(self, warm: sqlite3.Connection, outbox: Path, tier: Tier) -> None:
        self.warm = warm
        self.outbox = outbox
        self.tier = tier
        self.keys: set[tuple[str, Key]] = set()  # that differ, up to _MANY

    def report(self) -> StoreReport:
        """Compare; what differs counts if it still does after a while."""
        report = self._look(None)
        for _ in range(LOOKS - 1):
            if not 0 < len(self.keys) < _MANY:
                break
            time.sleep(SETTLE)
            report = self._look(self.keys)
        return report

    def repaired(self, writer: Writer, before: StoreReport) -> StoreReport:
        """Write what the tier lacks, and compare again."""
        with closing(writer):
            writer.connect()
            written, refused = _write(writer, self._lacking(before))
        after = self.report()
        after.repaired, after.not_repaired = written, refused
        mark = before.overrun
        if mark is not None and all(told.same for told in after.tables.values()):
            wanted = max(mark.since, self.tier.since(_closes(self.warm)[1] or 0))
            after.overrun = _cleared(self.warm, self.outbox, after, wanted)
        return after

    def _look(self, only: set[tuple[str, Key]] | None) -> StoreReport:
        """Compare once; of differences only those under the keys `only` count."""
        report, waits = _of_outbox(self.outbox, self.tier.name)
        report.since, report.until = _since(self.warm, self.tier), waits.oldest
        self.keys = set()
        for table in self.tier.tables:
            report.tables[table] = told = Comparison(table)
            for found in self._differences(table, report):
                if found is None or (only is not None and (table, found.key) not in only):
                    told.add(None)
                    continue
                told.add(found)
                if len(self.keys) < _MANY:
                    self.keys.add((table, found.key))
        if isinstance(self.tier, HotTier):
            report.expired = len(self.tier.expired)
        return report

    def _differences(self, table: str, report: StoreReport) -> Iterator[Difference | None]:
        since, until = report.since, report.until
        there = self.tier.rows(table, since, until)
        here = self.tier.expected(stored_rows(self.warm, table, since=since, until=until))
        if report.waiting:  # of rows without a time nobody knows which wait
            here, there = _timed(table, here), _timed(table, there)
        return differences(here, there, table)

    def _lacking(self, report: StoreReport) -> Iterator[tuple[str, Row]]:
        few = len(self.keys) < _MANY
        for table in self.tier.tables:
            rows = (
                found.row
                for found in self._differences(table, report)
                if found is not None
                and found.row is not None
                and (not few or (table, found.key) in self.keys)
            )
            yield from self.tier.repairs(self.warm, table, rows)


def _since(warm: sqlite3.Connection, tier: Tier) -> int:
    """Return from which event time on both keep all rows."""
    first, last = _closes(warm)
    since = tier.since(last or 0)
    return max(since, first) if first is not None and forgotten(warm) else since


def _closes(warm: sqlite3.Connection) -> tuple[int | None, int | None]:
    """Return the first and the last bar close of a store."""
    first, last = warm.execute("SELECT min(ts_close), max(ts_close) FROM bars").fetchone()
    return first, last


def _timed(table: str, rows: Iterable[Row]) -> Iterator[Row]:
    ages_by = TABLES[table].ages_by
    if ages_by is None:
        return iter(())
    place = TABLES[table].names.index(ages_by)
    return (row for row in rows if row[place] is not None)


def _repair_analytics(
    warm: sqlite3.Connection, outbox: Path, services: Services, report: StoreReport
) -> None:
    """Write what was lost to a store that gives nothing back, and what stands about it."""
    mark = report.overrun
    assert mark is not None
    # Rows may come late, by less than the warm store keeps.
    rows = (
        (table, row)
        for table in MEASUREMENTS
        for row in stored_rows(warm, table, since=mark.since - DAY, until=mark.until + 1)
    )
    with closing(_writer(services, report.store, run_settings(warm).profile)) as writer:
        writer.connect()
        report.repaired, report.not_repaired = _write(writer, rows)
    if not report.not_repaired:
        report.overrun = _cleared(warm, outbox, report, mark.since)


def _cleared(
    warm: sqlite3.Connection, outbox: Path, report: StoreReport, since: int
) -> Overrun | None:
    """Remove the mark of what a store has lost, if the warm store reaches back to `since`."""
    mark = report.overrun
    first, _ = _closes(warm)
    if mark is None or (forgotten(warm) and (first is None or first > since)):
        return mark
    clear_overrun(outbox, report.store, mark)
    return overruns(outbox).get(report.store)


def _writer(services: Services, name: str, profile: str = "") -> Writer:
    """Return the writer of one store; only the analytics want to know the profile."""
    if name != ANALYTICS:
        services = msgspec.structs.replace(services, influxdb=None)
    return next(writer for writer in writers_of(services, profile) if writer.name == name)


def _write(writer: Writer, rows: Iterable[tuple[str, Row]]) -> tuple[int, list[str]]:
    """Write rows; return how many, and why others were refused once more."""
    refused: list[str] = []
    written = 0
    for some in batched(rows, _BATCH):
        written += _write_some(writer, some, refused)
    return written, refused


def _write_some(writer: Writer, rows: Rows, refused: list[str]) -> int:
    try:
        writer.write(rows)
    except RowRefused as error:
        half = len(rows) // 2
        if half:
            return sum(_write_some(writer, part, refused) for part in (rows[:half], rows[half:]))
        if len(refused) < SHOWN:
            refused.append(str(error))
        return 0
    return len(rows)
