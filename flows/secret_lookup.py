"""Where a secret comes from: the environment, else the secrets file."""

from typing import TYPE_CHECKING

from connectors.secrets import Secret
from flows.settings import secret_from_environment, secret_places

if TYPE_CHECKING:
    from connectors.secret_file import SecretFile


def secret_file() -> "SecretFile":
    """Return the secrets file, with the keys that environment, file or keyring hold."""
    # Fifty milliseconds of imports, and few commands need them.
    from connectors.secret_file import SecretFile  # noqa: PLC0415
    from connectors.secret_keys import key_place  # noqa: PLC0415

    places = secret_places()
    return SecretFile(places.file, key_place(places.key, places.key_file, places.default_key_file))


def find_secret(name: str) -> Secret | None:
    """Return NEXTGEN_`name`, what the file named by NEXTGEN_`name`_FILE holds, or a kept secret.

    The first of these that there is; None for none.

    Raises:
        SettingsError: a file that NEXTGEN_`name`_FILE names cannot be read.
        SecretsError: the secrets file holds it, and cannot be opened.
    """
    given = secret_from_environment(name)
    if given is not None:
        return Secret(given)
    if not secret_places().file.exists():  # so that no keyring is asked in vain
        return None
    file = secret_file()
    return file.get(name) if name in file.names() else None
