"""One hash over everything that was decided: equal digests, equal runs."""

import hashlib
import sqlite3

import msgspec

# All but latencies, which are kept elsewhere.
_SIGNALS = """
    SELECT signal_id, symbol, ts_close, interval, action, score, confidence, target_position,
           approved, price, reasons, detail
    FROM signals ORDER BY ts_close, symbol, signal_id
"""


def digest(store: sqlite3.Connection) -> str:
    """Return the SHA-256, as hex, of all signals by bar close and symbol, one JSON line each.

    Floats count to their last bit: their shortest exact representation is hashed. Reads
    row by row, so a long run needs no memory.
    """
    encode = msgspec.json.Encoder(order="sorted").encode
    decode = msgspec.json.Decoder().decode
    hashed = hashlib.sha256()
    for *plain, reasons, detail in store.execute(_SIGNALS):
        hashed.update(encode([*plain, decode(reasons), decode(detail)]))
        hashed.update(b"\n")
    return hashed.hexdigest()


def count_signals(store: sqlite3.Connection) -> int:
    """Return how many signals the digest covers."""
    count: int = store.execute("SELECT count(*) FROM signals").fetchone()[0]
    return count
