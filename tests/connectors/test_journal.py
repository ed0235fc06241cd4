"""The journal survives torn ends and admits one writer."""

import pytest

from connectors import journal as module
from connectors.journal import Damage, Journal, JournalError, read_journal, segments
from connectors.sources.inputs import ReplayInputs, iterate
from operators.messages import SECOND, Raw, Reason

START = 1_723_161_254 * SECOND


def write(folder, count, **options):
    with Journal(folder, **options) as journal:
        first = journal.next_offset
        raws = [
            journal.append("binance", "binance", START + n * SECOND, b'{"n":%d}' % n)
            for n in range(first, first + count)
        ]
        journal.flush()
    return raws


def test_what_was_written_is_read_back(tmp_path):
    raws = write(tmp_path / "j", 100)

    assert list(read_journal(tmp_path / "j")) == raws
    assert [raw.offset for raw in raws] == list(range(100))


def test_nothing_is_on_disk_before_flush_and_all_after(tmp_path):
    journal = Journal(tmp_path)
    raw = journal.append("a", "binance", START, b"{}")

    assert list(read_journal(tmp_path)) == []
    journal.flush()
    assert list(read_journal(tmp_path)) == [raw]
    journal.close()


def test_reopened_journal_goes_on_in_a_new_segment(tmp_path):
    raws = write(tmp_path, 5) + write(tmp_path, 5)

    assert list(read_journal(tmp_path)) == raws
    assert len(segments(tmp_path)) == 2


def test_segments_rotate_by_size(tmp_path):
    with Journal(tmp_path, segment_bytes=200) as journal:
        raws = []
        for n in range(20):
            raws.append(journal.append("a", "binance", START + n, b"x" * 50))
            journal.flush()

    assert len(segments(tmp_path)) == 10
    assert list(read_journal(tmp_path)) == raws


@pytest.mark.parametrize("cut", range(1, 60))
def test_torn_end_is_cut_at_the_last_good_record(tmp_path, cut):
    raws = write(tmp_path, 3)
    [segment] = segments(tmp_path)
    size = segment.stat().st_size
    with segment.open("r+b") as file:
        file.truncate(size - cut)

    *found, damage = [*read_journal(tmp_path), None]
    good = [item for item in found if isinstance(item, Raw)]

    assert damage is None
    assert good == raws[: len(good)]
    assert len(good) >= 1
    # Whole records may be gone without a trace; a part of one is reported.
    assert len(found) - len(good) == (0 if cut * 3 % (size - 8) == 0 else 1)


def test_corrupt_record_ends_its_segment_and_the_next_one_goes_on(tmp_path):
    first = write(tmp_path, 3)
    [segment] = segments(tmp_path)
    content = bytearray(segment.read_bytes())
    content[-3] ^= 0xFF
    segment.write_bytes(content)
    with Journal(tmp_path) as journal:
        assert [damage.why for damage in journal.damage] == ["corrupt record: checksum differs"]
        assert journal.next_offset == 2
        later = journal.append("a", "binance", START + 9 * SECOND, b"{}")

    found = list(read_journal(tmp_path))

    assert [item for item in found if isinstance(item, Raw)] == [*first[:2], later]
    assert [item.segment for item in found if isinstance(item, Damage)] == [segment]


def test_absurd_length_is_damage_not_memory(tmp_path):
    write(tmp_path, 1)
    [segment] = segments(tmp_path)
    with segment.open("ab") as file:
        file.write(b"\xff" * 12)

    assert [type(item) for item in read_journal(tmp_path)] == [Raw, Damage]


def test_newer_writer_fences_the_older_one(tmp_path):
    old = Journal(tmp_path)
    old.append("a", "binance", START, b"{}")
    old.flush()
    new = Journal(tmp_path)
    old.append("a", "binance", START + 1, b"{}")

    with pytest.raises(JournalError, match=r"taken over: this writer has epoch 1, the newest is 2"):
        old.flush()
    raw = new.append("b", "binance", START + 2, b"{}")
    new.flush()

    assert raw.offset == 1
    assert [r.path for r in read_journal(tmp_path) if isinstance(r, Raw)] == ["a", "b"]
    new.close()
    with pytest.raises(JournalError):
        old.close()


def test_full_disk_tears_no_record(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    kept = journal.append("a", "binance", START, b"{}")
    journal.flush()
    write_some, calls = module.os.write, []

    def fail(file, data):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write_some(file, data[:5])

    lost = journal.append("a", "binance", START + 1, b"{}")
    monkeypatch.setattr(module.os, "write", fail)
    with pytest.raises(JournalError, match="cannot be written: No space left on device"):
        journal.flush()
    monkeypatch.undo()

    assert list(read_journal(tmp_path)) == [kept]
    journal.flush()  # there is room again
    assert list(read_journal(tmp_path)) == [kept, lost]
    journal.close()


def test_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(JournalError, match="cannot be opened"):
        Journal(tmp_path / "file")


def test_damage_is_one_rejection_of_a_replay(tmp_path):
    raws = write(tmp_path, 3)
    [segment] = segments(tmp_path)
    with segment.open("ab") as file:
        file.write(b"torn")

    *found, bad = iterate(ReplayInputs([tmp_path]))

    assert found == raws
    assert (bad.kind, bad.reason, bad.offset) == ("bad", Reason.UNREADABLE, 3)
    assert b"torn record" in bad.payload


def test_disk_that_is_full_at_a_new_segment_leaves_no_broken_one(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    kept = journal.append("a", "binance", START, b"{}")

    def fail(file, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(module.os, "write", fail)
        with pytest.raises(JournalError, match="cannot be written: No space left on device"):
            journal.flush()

    assert segments(tmp_path) == []
    journal.flush()  # there is room again
    assert list(read_journal(tmp_path)) == [kept]
    journal.close()


def test_journal_knows_its_size_and_its_last_entry(tmp_path):
    raws = write(tmp_path, 5, segment_bytes=100)
    with Journal(tmp_path, first=9, clocks=False) as journal:
        assert journal.last == raws[-1]
        assert journal.next_offset == 9
        journal.append("a", "binance", START, b"{}")
        journal.flush()
        assert journal.size == sum(path.stat().st_size for path in segments(tmp_path))
        journal.prune(9, 0)

        assert journal.size == segments(tmp_path)[-1].stat().st_size
        assert len(segments(tmp_path)) == 1
