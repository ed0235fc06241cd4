"""The newest signals out of Redis, where there is one: no question to a database of a year."""

from typing import Any

import structlog
from redis import Redis
from redis.exceptions import RedisError

from api.rows import Row
from connectors.sinks.redis_rows import row_of
from connectors.sinks.tables import TABLES


class HotSignals:
    """The hot tier's newest signal of each symbol."""

    def __init__(self, client: Redis, prefix: str) -> None:
        """Ask `client`, whose keys begin with `prefix`."""
        self.client = client
        self.prefix = prefix

    def latest_signals(self, symbols: list[str]) -> list[Row]:
        """Return the newest signals of `symbols`, as rows; of none that it does not know."""
        try:
            pipe = self.client.pipeline(transaction=False)
            for symbol in symbols:
                pipe.hget(f"{self.prefix}:latest:{symbol}", "signal")
            texts: list[Any] = pipe.execute()
        except RedisError as error:
            structlog.get_logger(__name__).warning("hot_tier_down", error=type(error).__name__)
            return []
        names = TABLES["signals"].names
        return [dict(zip(names, row_of(text), strict=True)) for text in texts if text is not None]
