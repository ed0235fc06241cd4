"""Secrets at rest: one file, each value encrypted with AES-256-GCM under its own name.

The name and the file's own id are bound to each value as associated data, so that no value can
be put in another's place, or into another file. A seal over all of it, by a second key that is
derived from the same, shows an entry that was removed, added or put back. Without the key a
thief learns names, when each was set, about how long each value is, and nothing else: values are
padded to whole blocks of 64 bytes.
"""

import base64
import fcntl
import hmac
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from connectors.secret_keys import KeyPlace, key_bytes, new_key
from connectors.secrets import Secret
from connectors.whole_files import write_whole
from operators.errors import SecretsError

VERSION = 1
MOST = 65_536  # bytes of a value
_LARGEST = 16 << 20  # of a file that is read
_BLOCK = 64  # bytes; a value is padded, so that its length tells little
_NONCE = 12
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,99}")


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    set_at: int  # UNIX s
    value: bytes  # nonce and ciphertext


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    id: str  # of this file
    key: str  # which key: a hash that does not tell it
    entries: dict[str, _Entry]
    seal: str = ""


def checked_name(name: str) -> str:
    """Return a secret's name, without the prefix it has in the environment.

    >>> checked_name("NEXTGEN_BINANCE_KEY")
    'BINANCE_KEY'

    Raises:
        SecretsError: it is no name.
    """
    name = name.removeprefix("NEXTGEN_")
    if not _NAME.fullmatch(name):
        raise SecretsError(
            "expected a name of capitals, digits and underscores, as BINANCE_KEY has it"
        )
    return name


class SecretFile:
    """The file at `path`, read and written with the keys of `place`."""

    def __init__(self, path: Path, place: KeyPlace) -> None:
        """Touch nothing yet."""
        self.path = path
        self.place = place

    def names(self) -> list[str]:
        """Return the names that are set. It takes no key.

        Raises:
            SecretsError: the file cannot be read.
        """
        document = self._document()
        return [] if document is None else sorted(document.entries)

    def get(self, name: str) -> Secret | None:
        """Return a secret, or None where it is not set.

        Raises:
            SecretsError: no key, a wrong one, or a file that was changed.
        """
        document = self._document()
        if document is None or name not in document.entries:
            return None
        return _opened(self._key(document), document, name)

    def set(self, name: str, value: Secret) -> None:
        """Keep a secret in the place of what stood under its name.

        The first one ever makes a key where there is none.

        Raises:
            SecretsError: the value is empty or too long, or the file cannot be read or written.
        """
        plain = value.reveal().encode()
        if not 0 < len(plain) <= MOST:
            raise SecretsError(f"expected a value of 1 to {MOST} bytes, found {len(plain)}")
        with self._locked():
            document = self._document()
            if document is None:
                document, key = self._begin()
            else:
                key = self._key(document)
            entry = _closed(key, document.id, name, plain, int(time.time()))
            self._write(key, document, document.entries | {name: entry})

    def remove(self, name: str) -> bool:
        """Forget a secret; return whether it was set.

        Raises:
            SecretsError: as `set`.
        """
        with self._locked():
            document = self._document()
            if document is None or name not in document.entries:
                return False
            key = self._key(document)
            left = {each: entry for each, entry in document.entries.items() if each != name}
            self._write(key, document, left)
            return True

    def rotate(self) -> int:
        """Encrypt everything anew with a new key, and drop those before; return how many.

        The new key is kept before it is used, and the old one until it is not: whatever cuts
        this off, the file can be read, and rotated again. Keys in the environment are not ours
        to write: there the first of several is the new one.

        Raises:
            SecretsError: the file or the key cannot be read or written.
        """
        with self._locked():
            document = self._document()
            if document is None:
                raise SecretsError(f"expected secrets in {self.path}, found none")
            old = self._key(document)
            known = self.place.read()
            fresh = known[0]
            if _hash(key_bytes(fresh)) == document.key:
                fresh = new_key()
                self.place.write([fresh, *known])
            key = key_bytes(fresh)
            values = {name: _opened(old, document, name) for name in document.entries}
            anew = _Document(VERSION, secrets.token_hex(16), _hash(key), {})
            entries = {
                name: _closed(
                    key, anew.id, name, value.reveal().encode(), document.entries[name].set_at
                )
                for name, value in values.items()
            }
            self._write(key, anew, entries)
            if self.place.ours:
                self.place.write([fresh])
            return len(entries)

    # ------------------------------------------------------------------------ the file

    def _begin(self) -> tuple[_Document, bytes]:
        keys = self.place.read()
        if not keys:
            keys = [new_key()]
            self.place.write(keys)
        key = key_bytes(keys[0])
        return _Document(VERSION, secrets.token_hex(16), _hash(key), {}), key

    def _document(self) -> _Document | None:
        try:
            with self.path.open("rb") as file:
                content = file.read(_LARGEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SecretsError(f"{self.path} cannot be read: {error.strerror}") from None
        try:
            document = msgspec.json.decode(content, type=_Document)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise SecretsError(
                f"{self.path} is damaged: it is cut off or was changed; put back a copy of it, or "
                "remove it and set its secrets anew"
            ) from None
        if document.version != VERSION:
            raise SecretsError(
                f"{self.path} has version {document.version}, this engine expects {VERSION}"
            )
        return document

    def _key(self, document: _Document) -> bytes:
        """Return the key of the file, which must be sealed with it."""
        keys = self.place.read()
        if not keys:
            raise SecretsError(
                f"no key for {self.path}: set NEXTGEN_SECRETS_KEY or NEXTGEN_SECRETS_KEY_FILE, or "
                f"put it back into {self.place.where}"
            )
        for each in keys:
            key = key_bytes(each)
            if _hash(key) == document.key:
                if not hmac.compare_digest(_seal(key, document), document.seal):
                    raise SecretsError(
                        f"{self.path} was changed since it was written with this key; put back a "
                        "copy of it, or remove it and set its secrets anew"
                    )
                return key
        raise SecretsError(f"the key in {self.place.where} is not the one of {self.path}")

    def _write(self, key: bytes, document: _Document, entries: dict[str, _Entry]) -> None:
        made = msgspec.structs.replace(document, entries=dict(sorted(entries.items())), seal="")
        sealed = msgspec.structs.replace(made, seal=_seal(key, made))
        content = msgspec.json.format(msgspec.json.encode(sealed), indent=1)
        write_whole(self.path, content + b"\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one writer at a time read, change and replace the file."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise SecretsError(f"{self.path} could not be written: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


# ---------------------------------------------------------------------------- arithmetic


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"nextgen secrets " + purpose).derive(key)


def _hash(key: bytes) -> str:
    """Return what names a key without telling it."""
    return sha256(b"nextgen secrets key" + key).hexdigest()[:16]


def _bound(file_id: str, name: str) -> bytes:
    return f"nextgen secrets {VERSION} {file_id} {name}".encode()


def _closed(key: bytes, file_id: str, name: str, plain: bytes, set_at: int) -> _Entry:
    padded = plain + b"\x80" + bytes(-(len(plain) + 1) % _BLOCK)
    nonce = secrets.token_bytes(_NONCE)
    cipher = AESGCM(_derived(key, b"values"))
    return _Entry(set_at, nonce + cipher.encrypt(nonce, padded, _bound(file_id, name)))


def _opened(key: bytes, document: _Document, name: str) -> Secret:
    value = document.entries[name].value
    cipher = AESGCM(_derived(key, b"values"))
    try:
        padded = cipher.decrypt(value[:_NONCE], value[_NONCE:], _bound(document.id, name))
    except (InvalidTag, ValueError):
        raise SecretsError(f"the secret {name} was changed since it was written") from None
    return Secret(padded.rstrip(b"\0")[:-1].decode())


def _seal(key: bytes, document: _Document) -> str:
    told: Any = msgspec.structs.replace(document, seal="")
    content = msgspec.json.encode(told, order="sorted")
    digest = hmac.new(_derived(key, b"seal"), content, sha256).digest()
    return base64.b64encode(digest).decode()
