"""Where the key of the secrets file comes from: environment, a file, or the system's keyring.

Several keys may stand there, newest first: the first one encrypts, any may decrypt. So a key is
replaced in steps that may be cut off anywhere.
"""

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from connectors.secrets import Secret
from connectors.whole_files import write_whole
from operators.errors import SecretsError

KEY_BYTES = 32
_SERVICE, _USER = "nextgen", "secrets-key"
_MAKE = "make one with: nextgen secrets new-key"


class KeyPlace(Protocol):
    """Where keys are kept."""

    where: str
    ours: bool  # whether `write` can work

    def read(self) -> list[Secret]:
        """Return the keys, newest first; none where there are none.

        Raises:
            SecretsError: what stands there is no key, or open to others.
        """

    def write(self, keys: list[Secret]) -> None:
        """Keep these instead. Raises SecretsError where that cannot be."""


def new_key() -> Secret:
    """Return a new key, as text."""
    return Secret(base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode())


def key_bytes(key: Secret) -> bytes:
    """Return the 32 bytes that a key's text stands for.

    Raises:
        SecretsError: it stands for something else.
    """
    try:
        raw = base64.b64decode(key.reveal(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise SecretsError(
            f"expected a key of {KEY_BYTES} bytes in base64, found something else; {_MAKE}"
        )
    return raw


class EnvironmentKeys:
    """Keys in a variable, parted by commas."""

    ours = False

    def __init__(self, name: str, value: Secret) -> None:
        self.where = name
        self._value = value

    def read(self) -> list[Secret]:
        """Return them."""
        return _parsed(self._value.reveal().split(","), self.where)

    def write(self, keys: list[Secret]) -> None:  # noqa: ARG002
        """Refuse: a process cannot change what its parent gives it."""
        raise SecretsError(
            f"the key is in {self.where}, which cannot be changed from here; put a new one in "
            f'front, {self.where}="$(nextgen secrets new-key),${self.where}", and rotate again'
        )


class FileKeys:
    """Keys in a file of their owner alone, one a line."""

    ours = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)

    def read(self) -> list[Secret]:
        """Return them; none where there is no file."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid not in {os.getuid(), 0}:
                    raise SecretsError(
                        f"the key file {self.path} is open to others; run: chmod 600 {self.path}"
                    )
                text = file.read(4096).decode("ascii", "replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SecretsError(
                f"the key file {self.path} cannot be read: {error.strerror}"
            ) from None
        return _parsed(text.splitlines(), self.where)

    def write(self, keys: list[Secret]) -> None:
        """Replace the file, whole or not at all."""
        lines = "".join(f"{key.reveal()}\n" for key in keys)
        write_whole(self.path, lines.encode())


class KeyringKeys:
    """Keys in the system's keyring, by the package of that name."""

    ours = True

    def __init__(self) -> None:
        self.where = f"the keyring ({_SERVICE}, {_USER})"

    def read(self) -> list[Secret]:
        """Return them; none where the package, a keyring, or an entry is absent."""
        with suppress(ImportError):
            import keyring  # noqa: PLC0415 - optional
            from keyring.errors import KeyringError  # noqa: PLC0415

            with suppress(KeyringError):
                return _parsed((keyring.get_password(_SERVICE, _USER) or "").split(","), self.where)
        return []

    def write(self, keys: list[Secret]) -> None:
        """Keep these instead."""
        try:
            import keyring  # noqa: PLC0415 - optional
            from keyring.errors import KeyringError  # noqa: PLC0415
        except ImportError:
            raise SecretsError("expected the package 'keyring': pip install keyring") from None
        try:
            keyring.set_password(_SERVICE, _USER, ",".join(key.reveal() for key in keys))
        except KeyringError as error:
            raise SecretsError(f"the keyring takes no key: {type(error).__name__}") from None


def key_place(
    key: Secret | None,
    file: Path | None,
    default: Path,
    keyring: Callable[[], KeyPlace] = KeyringKeys,
) -> KeyPlace:
    """Return where the keys are: those given, or in `file`, or a keyring that holds some.

    Else the file `default`, whether it is there or not.
    """
    if key is not None:
        return EnvironmentKeys("NEXTGEN_SECRETS_KEY", key)
    if file is not None:
        return FileKeys(file)
    # Asked last: a keyring may ask its user for a password.
    ring = None if default.exists() else keyring()
    return ring if ring is not None and ring.read() else FileKeys(default)


def _parsed(parts: list[str], where: str) -> list[Secret]:
    keys = [Secret(part.strip()) for part in parts if part.strip()]
    for key in keys:
        try:
            key_bytes(key)
        except SecretsError as error:
            raise SecretsError(f"{where}: {error}") from None
    return keys
