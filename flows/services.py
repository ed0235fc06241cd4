"""Where Kafka and the stores are: one TOML file, and passwords from where secrets are.

Nothing here decides anything: a run is the same wherever its results go.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from connectors.kafka.settings import KafkaSettings
from connectors.secrets import Secret
from connectors.sinks.influxdb_writer import InfluxSettings, InfluxWriter
from connectors.sinks.postgresql_connection import PostgresqlSettings
from connectors.sinks.postgresql_writer import PostgresqlWriter
from connectors.sinks.redis_writer import RedisSettings, RedisWriter
from connectors.sinks.writers import Writer
from flows.secret_lookup import find_secret
from operators.errors import SettingsError


class OutboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much waits on disk for stores that are down."""

    # Two hours of 50 symbols at one-second bars are about 1.5 GB.
    max_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = 4 << 30


class Services(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is there; a table that is absent is a service that is not used."""

    kafka: KafkaSettings | None = None
    redis: RedisSettings | None = None
    postgresql: PostgresqlSettings | None = None
    influxdb: InfluxSettings | None = None
    outbox: OutboxSettings = OutboxSettings()

    @property
    def stores(self) -> bool:
        """Whether there is a store to write to."""
        return any((self.redis, self.postgresql, self.influxdb))

    def need_kafka(self) -> KafkaSettings:
        """Return Kafka's settings. Raises SettingsError if there are none."""
        if self.kafka is None:
            raise SettingsError(
                "this needs Kafka: name a file with a table [kafka] by --services, or by "
                "NEXTGEN_SERVICES"
            )
        return self.kafka


def load_services(path: Path | None) -> Services:
    """Read the file of services; none gives none.

    Raises:
        SettingsError: no such file, no TOML, an unknown key or an impossible value.
    """
    if path is None:
        return Services()
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        return msgspec.convert(document, Services)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise SettingsError(f"services {path}: {error}") from error


def kafka_password() -> str | None:
    """Return Kafka's password: the secret KAFKA_PASSWORD."""
    found = find_secret("KAFKA_PASSWORD")
    return None if found is None else found.reveal()


def writers_of(services: Services, profile: str) -> list[Writer]:
    """Return a writer for each store there is; nothing is connected yet.

    Passwords are the secrets REDIS_PASSWORD, POSTGRESQL_PASSWORD and INFLUXDB_TOKEN.
    """
    made: list[Writer] = []
    if services.redis is not None:
        made.append(RedisWriter(services.redis, find_secret("REDIS_PASSWORD")))
    if services.postgresql is not None:
        password = find_secret("POSTGRESQL_PASSWORD") or Secret()
        made.append(PostgresqlWriter(services.postgresql, password))
    if services.influxdb is not None:
        token = find_secret("INFLUXDB_TOKEN") or Secret()
        made.append(InfluxWriter(services.influxdb, token, profile))
    return made
