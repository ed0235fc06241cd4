"""API keys: long random texts that are kept only as hashes.

A key has 256 random bits, so that SHA-256 without salt or stretching is as good as any hash:
there is nothing to guess. It is compared in constant time.
"""

import hashlib
import hmac
import os
import re
import secrets
import sqlite3
import time
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Self

from operators.errors import EngineError

DAY = 86_400 * 10**9
_FORM = re.compile(r"nx_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_APPLICATION_ID = 0x4E584B59  # "NXKY"
_COLUMNS = "id, name, scope, created, expires, revoked, lifetime"


class Scope(StrEnum):
    """What a key may do; each may what those before it may."""

    READ = "read"
    OPERATE = "operate"  # stop, resume, mute
    ADMIN = "admin"  # limits

    def allows(self, wanted: "Scope") -> bool:
        """Say whether this scope includes `wanted`.

        >>> Scope.ADMIN.allows(Scope.READ), Scope.READ.allows(Scope.OPERATE)
        (True, False)
        """
        ranks = list(Scope)
        return ranks.index(self) >= ranks.index(wanted)


class KeyError_(EngineError):  # noqa: N801 - KeyError is Python's
    """A key that cannot be made, found or changed."""


class Key(NamedTuple):
    """What is kept of a key; times are UNIX ns."""

    id: str
    name: str
    scope: Scope
    created: int
    expires: int
    revoked: int | None
    lifetime: int  # ns, for the key that follows it

    def good(self, now: int) -> bool:
        """Say whether it opens anything at `now`."""
        return self.revoked is None and now < self.expires


class KeyStore:
    """The keys of an API, in a SQLite file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        """Open the file, making it where it is absent.

        Raises:
            KeyError_: it cannot be opened, or is another program's.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._rows = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            found = self._rows.execute("PRAGMA application_id").fetchone()[0]
            if found not in {0, _APPLICATION_ID}:
                self._rows.close()
                raise KeyError_(f"{path} is another program's file; name another one with --keys")
            self._rows.execute("PRAGMA synchronous = FULL")
            self._rows.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._rows.execute(
                "CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY, name TEXT NOT NULL,"
                " scope TEXT NOT NULL, hash BLOB NOT NULL, created INTEGER NOT NULL,"
                " expires INTEGER NOT NULL, revoked INTEGER, lifetime INTEGER NOT NULL)"
            )
        except (OSError, sqlite3.Error) as error:
            raise KeyError_(f"{path} cannot be used for keys: {error}") from error

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._rows.close()

    def create(self, name: str, scope: Scope, lifetime: int) -> tuple[str, Key]:
        """Make a key that is good for `lifetime` ns; return its text, which is kept nowhere.

        Raises:
            KeyError_: the name or the lifetime is none that a key can have.
        """
        if not _NAME.fullmatch(name):
            raise KeyError_(
                "expected a name of up to 64 letters, digits, '.', '_', '@' and '-', found "
                f"{name!r}"
            )
        if not 0 < lifetime <= 3650 * DAY:
            raise KeyError_("a key is good for more than no time, and at most ten years")
        identity, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        now = time.time_ns()
        self._rows.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
            (identity, name, scope, _hash(secret), now, now + lifetime, lifetime),
        )
        return f"nx_{identity}_{secret}", self.get(identity)

    def rotate(self, identity: str, grace: int) -> tuple[str, Key]:
        """Make a key in the place of another, which stays good for `grace` ns at most.

        Raises:
            KeyError_: there is no such key, or it is not good any more.
        """
        old = self.get(identity)
        now = time.time_ns()
        if not old.good(now):
            raise KeyError_(f"key {identity} is not good any more; make a new one")
        made = self.create(old.name, old.scope, old.lifetime)
        self._rows.execute(
            "UPDATE keys SET expires = min(expires, ?) WHERE id = ?", (now + grace, identity)
        )
        return made

    def revoke(self, identity: str) -> None:
        """End a key now. Raises KeyError_ if there is none of that id."""
        self.get(identity)
        self._rows.execute(
            "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?",
            (time.time_ns(), identity),
        )

    def get(self, identity: str) -> Key:
        """Return a key. Raises KeyError_ if there is none of that id."""
        row = self._rows.execute(
            f"SELECT {_COLUMNS} FROM keys WHERE id = ?",  # noqa: S608 - columns are ours
            (identity,),
        ).fetchone()
        if row is None:
            raise KeyError_(f"there is no key {identity!r}; 'nextgen api keys list' lists them")
        return _key(row)

    def list(self) -> list[Key]:
        """Return all keys, the oldest first."""
        rows = self._rows.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY created, id")  # noqa: S608
        return [_key(row) for row in rows]

    def any(self) -> bool:
        """Say whether a key was ever made: from then on one is asked for."""
        return self._rows.execute("SELECT 1 FROM keys LIMIT 1").fetchone() is not None

    def find(self, text: str) -> Key | None:
        """Return the key whose text this is, if it is good now."""
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        row = self._rows.execute(
            f"SELECT {_COLUMNS}, hash FROM keys WHERE id = ?",  # noqa: S608
            (form[1],),
        ).fetchone()
        # Unknown ids are hashed and compared, too, so that none is told by its time.
        expected = row[-1] if row is not None else bytes(32)
        same = hmac.compare_digest(_hash(form[2]), expected)
        if row is None or not same:
            return None
        key = _key(row[:-1])
        return key if key.good(time.time_ns()) else None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key(row: tuple[object, ...]) -> Key:
    identity, name, scope, *rest = row
    return Key(identity, name, Scope(str(scope)), *rest)  # type: ignore[arg-type]
