"""The demo with the API beside it: it says where, and is served while it runs."""

import subprocess

import httpx2
import pytest

from tests.api.paced import until
from tests.integration.replays import command


def test_demo_prints_where_it_is_served_and_is(tmp_path):
    store = tmp_path / "demo.sqlite"
    line, options = command("demo", "--serve", "--speed", "20", "--quiet", "--store", store)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            name, _, address = process.stdout.readline().strip().partition(": ")
            assert name == "dashboard"
            with httpx2.Client(base_url=address, timeout=20) as client:
                assert client.get("/").headers["content-type"].startswith("text/html")
                until(lambda: client.get("/api/v1/portfolio").status_code == 200, process=process)
                assert client.get("/api/v1/run").json()["running"]
        finally:
            process.terminate()
            out, _ = process.communicate(timeout=60)
    assert "signals" in out.lower()
    assert process.returncode == 0
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(address, timeout=20)


def test_served_demo_that_is_killed_leaves_no_server_behind(tmp_path):
    line, options = command(
        "demo", "--serve", "--speed", "1", "--quiet", "--store", tmp_path / "demo.sqlite"
    )
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, **options) as process:
        address = process.stdout.readline().strip().partition(": ")[2]
        assert httpx2.get(f"{address}api/v1/health/live", timeout=20).status_code == 200
        process.kill()

    def refused():
        try:
            httpx2.get(address, timeout=20)
        except httpx2.TransportError:
            return True
        return False

    until(refused)
