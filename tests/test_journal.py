"""Replaced clips are remembered, whenever their writer was killed."""

import pytest

from tats_gym.clips.streaming.journal import Journal, Replacement

FIRST, SECOND, THIRD = (Replacement(0, 0, draw, draw % 2, f"{draw}.mp4", "it does not decode") for draw in (3, 5, 8))


@pytest.mark.parametrize("cut", range(1, 40, 6))
def test_entries_after_a_line_that_was_cut_off_are_kept(tmp_path, cut):
    path = tmp_path / "journal.jsonl"
    journal = Journal()
    journal.add(FIRST)
    journal.keep(path)
    journal.add(SECOND)
    path.write_bytes(path.read_bytes()[:-cut])  # killed while the second was written
    again = Journal()
    again.keep(path)
    again.add(THIRD)
    last = Journal()
    last.keep(path)
    assert last.attempts(0, (0, 1)) == {3: 2, 8: 1} | ({5: 2} if cut == 1 else {})


def test_a_replacement_is_written_once(tmp_path):
    path = tmp_path / "journal.jsonl"
    for _ in range(2):
        journal = Journal()
        journal.keep(path)
        for each in (FIRST, SECOND, FIRST):
            journal.add(each)
    assert len(path.read_text().splitlines()) == 2
    assert journal.attempts(0, (1, 1)) == journal.attempts(1, (0, 1)) == {}


def test_other_processes_draw_other_videos():
    journal = Journal()
    for ranks in (1, 2):
        journal.add(Replacement(0, 1, ranks, 0, "a.mp4", "it is gone", ranks))
    assert journal.attempts(0, (1, 2)) == {2: 1}


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        b"[1]",
        b'{"seed": 0, "rank": 0, "draw": [3], "attempt": 0, "video": "3.mp4", "cause": "cut"}',
        b'{"seed": 0, "rank": 0, "draw": 3, "attempt": "0", "video": "3.mp4", "cause": "cut"}',
        b'{"seed": 0, "rank": 0, "draw": "3", "attempt": 0, "video": "3.mp4", "cause": "cut"}',
    ],
)
def test_a_line_that_is_no_replacement_is_passed_over_which_is_said(tmp_path, caplog, line):
    path = tmp_path / "journal.jsonl"
    journal = Journal()
    journal.keep(path)
    for each in (FIRST, SECOND):
        journal.add(each)
    one, other = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([one, line, other, b""]))
    again = Journal()
    again.keep(path)
    assert again.attempts(0, (0, 1)) == journal.attempts(0, (0, 1))
    assert [message.split(" (")[0] for message in caplog.messages] == [
        f"{path}, line 2 is not a replacement and is skipped"
    ]
