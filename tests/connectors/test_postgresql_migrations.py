"""The migrations make exactly the tables that the writer writes, once."""

import subprocess
import sys
import threading

import pytest

from connectors.sinks.postgresql_layout import HASH, LAYOUTS, REVISION
from connectors.sinks.postgresql_migrations import migrate, newest
from connectors.sinks.tables import TABLES
from connectors.sinks.writers import StoreRefused
from tests.servers.postgresql import PostgresqlServer, password


@pytest.fixture(scope="module")
def server():
    with PostgresqlServer() as started:
        yield started


@pytest.fixture
def settings(server):
    return server.settings()


def test_the_newest_migration_is_the_one_the_writer_expects():
    assert newest() == REVISION


def test_migrated_tables_are_those_the_writer_writes(server, settings):
    """If this fails, a table was changed: add a migration, and raise `REVISION`."""
    migrate(settings, password())

    found = {}
    for table, name, kind, required, collation in server.sql(
        "SELECT relname, attname, typname, attnotnull, collname FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = attrelid JOIN pg_type t ON t.oid = atttypid"
        " LEFT JOIN pg_collation o ON o.oid = attcollation"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0"
        " ORDER BY relname, attnum",
        settings.database,
    ):
        if (table, name) not in {("alembic_version", "version_num"), ("rejections", HASH)}:
            found.setdefault(table, []).append((name, kind, required, collation))

    assert found == {
        table: [
            (c.name, c.type, c.required, "C" if c.type == "text" else None) for c in layout.columns
        ]
        for table, layout in LAYOUTS.items()
    }


def test_migrated_keys_partitions_and_indexes_are_those_of_the_layout(server, settings):
    migrate(settings, password())

    found = dict(
        server.sql(
            "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE contype = 'p' AND connamespace = 'public'::regnamespace",
            settings.database,
        )
    )
    found.pop("alembic_version")
    assert found == {
        table: f"PRIMARY KEY ({', '.join(layout.key)})" for table, layout in LAYOUTS.items()
    }
    ranges = dict(
        server.sql(
            "SELECT partrelid::regclass::text, pg_get_partkeydef(partrelid)"
            " FROM pg_partitioned_table",
            settings.database,
        )
    )
    assert ranges == {
        table: f"RANGE ({layout.partitioned_by})"
        for table, layout in LAYOUTS.items()
        if layout.partitioned_by
    }
    definitions = "\n".join(
        row for (row,) in server.sql("SELECT indexdef FROM pg_indexes", settings.database)
    )
    for table in LAYOUTS:
        if TABLES[table].index:
            assert f"public.{table} USING btree ({TABLES[table].index})" in definitions


def test_migrating_again_does_nothing(settings):
    assert migrate(settings, password()) == (None, REVISION)
    assert migrate(settings, password()) == (REVISION, REVISION)


def test_two_migrations_at_once_do_no_harm(settings):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(migrate_apart(settings))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == [f"({REVISION!r}, {REVISION!r})"] * 2 + [f"(None, {REVISION!r})"]


def migrate_apart(settings):
    """Migrate in a process of its own, as two commands would."""
    program = (
        "from connectors.sinks.postgresql_migrations import migrate\n"
        "from tests.servers.postgresql import PostgresqlSettings, password\n"
        f"print(migrate({settings!r}, password()))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_migration_that_fails_leaves_nothing(server, settings):
    server.sql("CREATE TABLE switches (of_someone_else int)", settings.database)

    with pytest.raises(StoreRefused, match="already exists"):
        migrate(settings, password())

    found = server.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
                       settings.database)  # fmt: skip
    assert found == [("switches",)]


def test_the_database_of_a_later_engine_is_refused(server, settings):
    migrate(settings, password())
    server.sql("UPDATE alembic_version SET version_num = '9999'", settings.database)

    with pytest.raises(StoreRefused, match="layout 9999"):
        migrate(settings, password())
