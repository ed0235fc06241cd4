import json

import pytest

from connectors.sinks.dead_letters import DeadLetters
from operators.errors import StoreError
from operators.messages import Reason
from tests.stores import rejection, stored_bar


def write(path, *messages, run="r", max_bytes=10_000):
    part = DeadLetters(path, run, max_bytes=max_bytes).build_part("dead", "0", None)
    part.write_batch(list(messages))
    part.snapshot()
    part.close()


def offsets(path):
    return [json.loads(line)["offset"] for line in path.read_text().splitlines()]


def test_only_rejections_are_written_with_their_payload(tmp_path):
    path = tmp_path / "dead.jsonl"
    write(path, stored_bar(), rejection(1, payload=b"{bad"), rejection(2, payload=b"\xff"))

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("payload") for line in lines] == ["{bad", None]
    assert lines[1]["payload_base64"] == "/w=="


def test_resumed_run_writes_nothing_twice_and_leaves_nothing_out(tmp_path):
    path = tmp_path / "dead.jsonl"
    write(path, rejection(5), rejection(2))
    write(path, rejection(5), rejection(3), rejection(2, Reason.LATE))

    assert offsets(path) == [5, 2, 3, 2]


def test_another_run_of_the_same_input_is_written_too(tmp_path):
    path = tmp_path / "dead.jsonl"
    write(path, rejection(5), run="first")
    write(path, rejection(5), run="second")

    assert offsets(path) == [5, 5]


def test_line_cut_by_a_kill_is_written_again_whole(tmp_path):
    path = tmp_path / "dead.jsonl"
    write(path, rejection(1), rejection(2))
    path.write_bytes(path.read_bytes()[:-10])

    write(path, rejection(2))

    assert offsets(path) == [1, 2]


def test_files_rotate_and_the_oldest_goes(tmp_path):
    path = tmp_path / "dead.jsonl"
    for offset in range(8):
        write(path, rejection(offset), max_bytes=1)

    kept = sorted(tmp_path.glob("dead.jsonl*"))
    assert [file.name for file in kept] == [
        "dead.jsonl", "dead.jsonl.1", "dead.jsonl.2", "dead.jsonl.3", "dead.jsonl.4",
    ]  # fmt: skip
    assert offsets(tmp_path / "dead.jsonl.1") == [7]
    assert offsets(tmp_path / "dead.jsonl.4") == [4]


def test_rotated_lines_are_known_after_a_restart(tmp_path):
    path = tmp_path / "dead.jsonl"
    write(path, rejection(1), max_bytes=1)
    write(path, rejection(1), rejection(2))

    assert offsets(path) == [2]


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="dead letters cannot be written"):
        write(tmp_path / "file" / "dead.jsonl", rejection())


def test_file_of_other_lines_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("buy milk\n")
    with pytest.raises(StoreError, match="holds other lines than dead letters"):
        write(tmp_path / "notes.txt", rejection())
