"""Files that are replaced whole or not at all, and only their owner may read."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from operators.errors import SecretsError


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` in the place of what `path` holds, on disk once it returns, mode 0600.

    A full disk, a crash or a power cut leave what was there before.

    Raises:
        SecretsError: it cannot be written, in one sentence.
    """
    fresh = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except BaseException:
            with suppress(OSError):
                fresh.unlink()
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SecretsError(f"{path} could not be written: {error.strerror}") from None
