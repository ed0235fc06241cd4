"""Bring a database to the layout that this version of the engine writes."""

from pathlib import Path

import msgspec
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from connectors.secrets import Secret
from connectors.sinks.postgresql_connection import PostgresqlSettings, connect, translated
from connectors.sinks.postgresql_partitions import LOCK
from connectors.sinks.writers import StoreRefused

FOLDER = Path(__file__).parent / "migrations"
PATIENCE = 600.0  # seconds; a migration may rewrite a table
_LOCK_WAIT = "SET LOCAL lock_timeout = '30s'"  # who waits for a table makes others wait


def migrate(settings: PostgresqlSettings, password: Secret) -> tuple[str | None, str]:
    """Run the migrations that the database lacks, in one transaction: all of them, or none.

    Returns the revision it had (None where it had no tables of ours) and the one it has. Two
    at once do no harm: the second finds nothing to do.

    Raises:
        StoreDown: the server cannot be reached, or a table was in use for too long.
        StoreRefused: a wrong password or permission, or a later engine's database.
    """
    patient = msgspec.structs.replace(settings, patience_seconds=PATIENCE)
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(patient, password, autocommit=False),
        poolclass=NullPool,
    )
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(_LOCK_WAIT)
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            before = MigrationContext.configure(connection).get_current_revision()
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise translated(error.orig or error, settings) from error
    except CommandError as error:
        raise StoreRefused(
            f"the database {settings.database} at {settings.host}:{settings.port} has layout "
            f"{before}, which this engine does not know: use the later version that made it"
        ) from error
    return before, newest()


def newest() -> str:
    """Return the revision of the newest migration."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config
