"""Damaged files: the frames that are there are read, a file without any is an error that names it."""

import errno
import os
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from tats_gym.clips.readers import VideoReadError, open_video
from tests.test_readers import INDEX_FIRST, READERS, WITH_B_FRAMES, read, readers
from tests.video_files import (
    cut,
    frame_numbers,
    noise_frames,
    numbered_frames,
    write_sound,
    write_video,
)


@pytest.mark.parametrize("reader", READERS)
def test_a_truncated_video_has_as_many_frames_as_it_holds(tmp_path, reader):
    path = cut(write_video(tmp_path / "v.webm", noise_frames(40), codec="libvpx-vp9"), 0.5)
    with closing(open_video(path, reader)) as video:
        assert 10 < len(video) < 30
        assert video.get_batch([0, len(video) - 2]).shape == (2, 32, 64, 3)
        with pytest.raises(VideoReadError, match=rf"v\.webm: frame 39 was asked for, it has {len(video)}"):
            video.get_batch([0, 39])


@pytest.mark.parametrize("gop", ["8", "250"])
@pytest.mark.parametrize("reader", readers(decord="it does not open the file"))
def test_a_video_that_ends_before_its_index_says_gives_its_frames(tmp_path, reader, gop):
    options = WITH_B_FRAMES | {"g": gop}
    whole = write_video(tmp_path / "v.mp4", noise_frames(40), options=options, container_options=INDEX_FIRST)
    expected = read(whole, range(1, 17), "pyav")
    with closing(open_video(cut(whole, 0.6), reader)) as video:
        assert 20 < len(video) < 28
        np.testing.assert_array_equal(video.get_batch(range(1, 17)), expected)
        with pytest.raises(VideoReadError, match=r"v\.mp4: .*not decode"):
            video.get_batch([0, len(video) - 2, len(video) - 1])
        with pytest.raises(VideoReadError, match=r"v\.mp4: frame 39 was asked for"):
            video.get_batch([39])
        np.testing.assert_array_equal(video.get_batch(range(1, 17)), expected)


@pytest.mark.parametrize("reader", readers(decord="it counts them, and fails on frames that are there"))
def test_packets_without_a_picture_are_no_frames(tmp_path, reader):
    path = write_video(tmp_path / "v.mp4", numbered_frames(20), options=WITH_B_FRAMES | {"g": "8"}, empty_packets=13)
    with closing(open_video(path, reader)) as video:
        assert frame_numbers(video.get_batch(range(20))) == list(range(20))
        assert len(video) == 20


@pytest.mark.parametrize("reader", READERS)
def test_frames_that_do_not_decode_are_an_error(tmp_path, reader):
    path = write_video(
        tmp_path / "v.mp4",
        noise_frames(40),
        options={"g": "100"},
        container_options=INDEX_FIRST,
    )
    content = path.read_bytes()
    third = len(content) // 3
    path.write_bytes(content[:third] + bytes(len(content) - third))
    with closing(open_video(path, reader)) as video, pytest.raises(VideoReadError, match=r"v\.mp4: .*not decode"):
        video.get_batch([30])


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
@pytest.mark.parametrize("reader", READERS)
def test_a_video_without_frames_is_an_error(tmp_path, reader, suffix):
    path = write_video(tmp_path / f"v.{suffix}", numbered_frames(0), codec="mpeg4")
    with pytest.raises(VideoReadError, match=rf"v\.{suffix}: it"):
        open_video(path, reader)


@pytest.mark.parametrize("reader", READERS)
def test_files_that_hold_no_video_are_an_error_that_names_them(tmp_path, reader):
    with pytest.raises(VideoReadError, match=r"absent\.mp4: No such file"):
        open_video(tmp_path / "absent.mp4", reader)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(VideoReadError, match=r"folder\.mp4: the folder holds no image"):
        open_video(tmp_path / "folder.mp4", reader)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoReadError, match=r"empty\.mp4: the file is empty"):
        open_video(tmp_path / "empty.mp4", reader)
    (tmp_path / "text.mp4").write_text("404 Not Found\n" * 99)
    with pytest.raises(VideoReadError, match=r"text\.mp4: it does not decode"):
        open_video(tmp_path / "text.mp4", reader)
    with pytest.raises(VideoReadError, match=r"cut\.mp4: it does not decode"):
        open_video(cut(write_video(tmp_path / "cut.mp4", noise_frames(9)), 0.6), reader)
    with pytest.raises(VideoReadError, match=r"sound\.mp4: it "):
        open_video(write_sound(tmp_path / "sound.mp4"), reader)


def test_a_disk_that_does_not_answer_costs_one_video(tmp_path, monkeypatch):
    path = write_video(tmp_path / "v.mp4")
    monkeypatch.setattr(Path, "stat", Mock(side_effect=OSError(errno.ESTALE, os.strerror(errno.ESTALE))))
    with pytest.raises(VideoReadError, match=r"v\.mp4: Stale file handle"):
        open_video(path)


@pytest.mark.parametrize("reader", READERS)
def test_an_unknown_format_is_an_error(tmp_path, reader):
    path = write_video(tmp_path / "v.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"xyz1"))
    with pytest.raises(VideoReadError, match=r"v\.mp4: "):
        open_video(path, reader)
