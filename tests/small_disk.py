"""Small disks in memory, which fill up and are enlarged; only root can mount them."""

import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def small_disks():
    """Give what mounts a disk at a folder with mount's options, or changes one."""
    made = []

    def mount(folder, options):
        again = folder in made
        folder.mkdir(exist_ok=True)
        line = ["mount", "-t", "tmpfs", "-o", f"remount,{options}" if again else options]
        done = subprocess.run([*line, "tmpfs", folder], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.decode()}")
        if not again:
            made.append(folder)

    try:
        yield mount
    finally:
        for folder in reversed(made):
            subprocess.run(["umount", "--lazy", folder], check=True)
