"""Which partition, and so which shard, a symbol belongs to."""

from zlib import crc32


def partition_of(symbol: str, count: int) -> int:
    """Return the partition of `symbol` among `count`: what librdkafka calls `consistent`.

    >>> [partition_of(symbol, 8) for symbol in ("BTCUSDT", "ETHUSDT", "AAPL", "7203")]
    [3, 4, 4, 7]
    """
    return crc32(symbol.encode()) % count
