"""`nextgen store check` and `migrate`: whether all stores agree, and the layout of PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from connectors.secrets import Secret
from connectors.sinks.compare import Comparison
from flows.secret_lookup import find_secret
from flows.services import load_services
from flows.store_check import StoreReport, check_stores
from flows.terminal import moment, printable
from operators.errors import SettingsError


def check_command(
    store: Path, services: Path | None, *, repair: bool = False, as_json: bool = False
) -> bool:
    """Compare a run's store with the others, and say how they differ; return whether none does.

    Raises:
        EngineError: it cannot be done, in one sentence.
    """
    reports = check_stores(store, load_services(services), repair=repair)
    same = all(report.same for report in reports)
    if as_json:
        told = {"same": same, "stores": {report.store: report for report in reports}}
        print(msgspec.json.encode(told).decode())  # noqa: T201 - the output
    else:
        Console().print(Group(*map(_view, reports)), soft_wrap=True)
    return same


def migrate_command(services: Path | None) -> None:
    """Bring PostgreSQL to the layout that this engine writes, and say what it was.

    Raises:
        EngineError: it cannot be done, in one sentence.
    """
    from connectors.sinks.postgresql_migrations import migrate  # noqa: PLC0415 - SQLAlchemy

    settings = load_services(services).postgresql
    if settings is None:
        raise SettingsError(
            "there is no PostgreSQL to migrate: name a file with a table [postgresql] by "
            "--services, or by NEXTGEN_SERVICES"
        )
    before, now = migrate(settings, find_secret("POSTGRESQL_PASSWORD") or Secret())
    done = "has layout" if before == now else f"had layout {before or 'none'}, and now has"
    Console().print(f"the database {settings.database} {done} {now}", markup=False)


def _view(report: StoreReport) -> RenderableType:
    """Return what is told of one store."""
    parts: list[RenderableType] = [Text(report.store, style="green" if report.same else "red")]
    told = [each for each in report.tables.values() if each.equal or not each.same]
    if told:
        parts.append(_table(told))
    lines = (*_compared(report), *_differing(report), *_not_delivered(report))
    return Group(*parts, *(Text(f"  {line}") for line in lines), Text())


def _table(told: list[Comparison]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 2), header_style="dim")
    table.add_column("table", no_wrap=True)
    for name in ("equal", "missing", "extra", "different"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in told:
        counts = (each.equal, each.missing, each.extra, each.different)
        table.add_row(each.table, *(f"{n:,}" for n in counts), style="" if each.same else "red")
    return table


def _compared(report: StoreReport) -> Iterator[str]:
    if not report.tables:
        yield "gives nothing back to compare"
        return
    begin = "the beginning" if (report.since or 0) <= 0 else moment(report.since or 0)
    end = "the end" if report.until is None else moment(report.until)
    yield f"compared from {begin} to {end}"
    if report.expired:
        yield f"{report.expired:,} signals have expired by the server's own clock"


def _differing(report: StoreReport) -> Iterator[str]:
    """Yield a first example of each kind, and what became of a repair."""
    for each in report.tables.values():
        for kind, keys in (
            ("missing", each.missing_keys),
            ("extra", each.extra_keys),
            ("different", each.different_keys),
        ):
            if keys:
                yield f"{kind} in {each.table}: {printable(', '.join(map(str, keys[0])))}, ..."
    if report.repaired:
        yield f"{report.repaired:,} rows were written again"
    yield from (f"refused again: {printable(why)}" for why in report.not_repaired)


def _not_delivered(report: StoreReport) -> Iterator[str]:
    """Yield what the outbox says."""
    if report.waiting:
        yield f"{report.waiting:,} rows wait in the outbox"
    if report.refused:
        yield f"{report.refused:,} rows were refused: they are in the outbox, in refused.jsonl"
    if report.overrun is not None:
        lost = report.overrun
        yield (
            f"{lost.rows:,} rows were lost, of bars from {moment(lost.since)} to "
            f"{moment(lost.until)}: --repair writes them from what is here; where that is too "
            f"late, remove {report.store}.overrun from the outbox"
        )
