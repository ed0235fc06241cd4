"""A drill's report beside it: what machine it ran on, and a section for each of its tests."""

import os
import platform
from contextlib import contextmanager


@contextmanager
def report_of(path, title, words, sections):
    """Give a dict for the sections by title; written at the end, if all of them are there."""
    found = {}
    yield found
    if len(found) == sections:
        head = (
            f"# {title}\n\n`make acceptance` on {platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}{words}\n"
        )
        parts = (f"## {name}\n\n{text}\n" for name, text in found.items())
        path.write_text("\n".join([head, *parts]))
