"""Files and folders are written whole or not at all, and abandoned ones are deleted."""

import os
from contextlib import suppress

import pytest

from tats_gym.files.atomic import file_written_whole, folder_written_whole, write_whole

HEX = "0123456789abcdef" * 2


def test_an_error_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, "old")
    with suppress(ZeroDivisionError), file_written_whole(path) as partial:
        partial.write_text("new")
        raise ZeroDivisionError
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.json", "old")]


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    def fill_the_disk(out):
        with folder_written_whole(out) as folder:
            (folder / "a").write_text("half of it")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fill_the_disk(tmp_path / "out")
    assert not list(tmp_path.iterdir())
    with folder_written_whole(tmp_path / "new" / "out") as folder:
        (folder / "a").write_text("all of it")
    assert [path.name for path in (tmp_path / "new" / "out").iterdir()] == ["a"]


def test_leftovers_of_killed_processes_are_deleted_after_a_day(tmp_path):
    theirs = [tmp_path / name for name in (f".b[1].json.{HEX}", f".b[1].json.{HEX[:-1]}", ".b[1].json", f".c.{HEX}")]
    old, new = tmp_path / f".a[1].json.{HEX}", tmp_path / f".a[1].json.{HEX[::-1]}"
    for path in (*theirs, old, new):
        path.touch()
    for path in (*theirs, old):
        os.utime(path, (0, 0))
    write_whole(tmp_path / "a[1].json", "text")
    assert sorted(tmp_path.iterdir()) == sorted([*theirs, new, tmp_path / "a[1].json"])


def test_half_an_export_is_deleted_after_a_day(tmp_path):
    half = tmp_path / f".out.{HEX}"
    (half / "within").mkdir(parents=True)
    os.utime(half, (0, 0))
    with folder_written_whole(tmp_path / "out") as partial:
        (partial / "b").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
