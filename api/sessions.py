"""Browsers' sessions: begun with a key, kept in memory, over when the key is."""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from api.keys import Key, KeyStore, Scope

_MOST = 1000  # at a time; the one begun first goes
_NS = 10**9


@dataclass(slots=True)
class Session:
    """One browser that has logged in; times are UNIX ns."""

    key: str  # id of the key it was begun with
    name: str
    scope: Scope
    csrf: str
    expires: int
    seen: int
    over: bool = False  # logged out, or forgotten


class Sessions:
    """The sessions of this process; a restart ends them all."""

    def __init__(
        self,
        keys: KeyStore,
        *,
        seconds: int,
        idle_seconds: int,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Begin with none."""
        self.keys = keys
        self.seconds = seconds
        self.idle_seconds = idle_seconds
        self.clock = clock
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, key: Key) -> tuple[str, Session]:
        """Begin a session; return its token, of which only a hash is kept."""
        token = secrets.token_urlsafe(32)
        now = self.clock()
        expires = min(now + self.seconds * _NS, key.expires)
        session = Session(key.id, key.name, key.scope, secrets.token_urlsafe(32), expires, now)
        self._sessions[_hash(token)] = session
        while len(self._sessions) > _MOST:
            self._sessions.popitem(last=False)[1].over = True
        return token, session

    def find(self, token: str) -> Session | None:
        """Return the session of a token, if it is still on; it counts as used now."""
        session = self._sessions.get(_hash(token))
        if session is None:
            return None
        if not self.lasts(session):
            self.end(token)
            return None
        session.seen = self.clock()
        return session

    def lasts(self, session: Session) -> bool:
        """Say whether a session is still on; to ask does not count as use."""
        now = self.clock()
        idle = now - session.seen > self.idle_seconds * _NS
        good = now < session.expires and self.keys.get(session.key).good(now)
        return good and not idle and not session.over

    def end(self, token: str) -> None:
        """End a session."""
        session = self._sessions.pop(_hash(token), None)
        if session is not None:
            session.over = True


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
