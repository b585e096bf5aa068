"""Windows are decoded once, kept whole, and made again where the kept file does not fit."""

import logging
import os
import shutil
from collections import namedtuple
from contextlib import closing

import numpy as np
import pytest
import torch

from tats_gym.clips import ClipConfig, ClipStream, VideoReadError
from tats_gym.clips.caches.window_cache import PARTIAL_FOLDER, WindowCache
from tests.video_files import noise_frames, write_video


class Decoder:
    """Decodes a window of grey that tells where it lies, and counts."""

    def __init__(self):
        self.calls = []

    def __call__(self, where):
        self.calls.append(where)
        return np.full((16, 3, 4, 3), round(100 * where), np.uint8)


@pytest.fixture(name="video")
def _video(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"a video")
    return path


def test_a_window_is_decoded_once(video, tmp_path):
    decode, cache = Decoder(), WindowCache(tmp_path / "kept", 4, 16, 2)
    windows = [cache.get(video, which, decode) for which in (0, 1, 2, 3)]
    assert [int(4 * where) for where in decode.calls] == [0, 1, 2, 3]  # spread over the video
    again = WindowCache(tmp_path / "kept", 4, 16, 2)
    for which, window in enumerate(windows):
        np.testing.assert_array_equal(again.get(video, which, decode), window)
    assert len(decode.calls) == 4
    WindowCache(tmp_path / "kept", 4, 16, 4).get(video, 0, decode)  # another stride
    WindowCache(tmp_path / "kept", 2, 16, 2).get(video, 0, decode)  # other windows
    video.write_bytes(b"another video")
    again.get(video, 0, decode)
    assert len(decode.calls) == 7


@pytest.mark.parametrize(
    "damage",
    [
        *(lambda content: b"", lambda content: b"no", lambda content: content[:-1], lambda content: content[:60]),
        *(lambda content: content + b"\0", lambda content: bytes(len(content))),
        lambda content: content[:128] + bytes(len(content) - 128),  # as a loss of power leaves it
        lambda content: content.replace(b"(16, 3, 4, 3)", b"(16, 4, 3, 3)"),
        lambda content: content.replace(b"|u1", b"|i1"),
    ],
)
def test_a_damaged_window_is_decoded_again(video, tmp_path, damage):
    decode, cache = Decoder(), WindowCache(tmp_path / "kept", 1, 16)
    whole = np.array(cache.get(video, 0, decode))
    (kept,) = (tmp_path / "kept").rglob("*.npy")
    kept.write_bytes(damage(kept.read_bytes()))
    np.testing.assert_array_equal(cache.get(video, 0, decode), whole)
    np.testing.assert_array_equal(cache.get(video, 0, decode), whole)
    assert len(decode.calls) == 2


def test_leftovers_of_a_killed_process_are_deleted_after_a_day_and_others_may_read(video, tmp_path):
    old, new = (tmp_path / "kept" / PARTIAL_FOLDER / name for name in ("old", "new"))
    old.parent.mkdir(parents=True)
    for path in (old, new):
        path.write_bytes(b"half a window")
    os.utime(old, (0, 0))
    before = os.umask(0o022)
    WindowCache(tmp_path / "kept", 1, 16).get(video, 0, Decoder())
    os.umask(before)
    assert list(old.parent.iterdir()) == [new]
    (kept,) = (tmp_path / "kept").rglob("*.npy")
    assert kept.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_only_ends_the_keeping(video, tmp_path, monkeypatch, caplog):
    disk = namedtuple("Disk", ["total", "used", "free"])(1000, 960, 40)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    decode, cache = Decoder(), WindowCache(tmp_path / "kept", 2, 16)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cache.get(video, 0, decode)
    assert len(decode.calls) == 3
    assert [message.endswith("the disk is 95% full") for message in caplog.messages] == [True]
    assert not list((tmp_path / "kept").rglob("*.*"))
    with pytest.raises(VideoReadError, match="No such file"):
        cache.get(tmp_path / "gone.mp4", 0, decode)


def test_a_stream_cuts_new_crops_from_kept_windows(tmp_path):
    for number in range(3):
        write_video(tmp_path / "videos" / f"{number}.mp4", noise_frames(40, 40, 64))
    config = ClipConfig(data="folder", root=str(tmp_path / "videos"), cache_windows=2, cache_dir=str(tmp_path / "kept"))
    with closing(ClipStream(config, frames=4, size=16, seed=0)) as stream:
        first = stream.take(36)
        kept = sorted((tmp_path / "kept").rglob("*.npy"))
        assert len(kept) == 6
        stream.seek(0)
        assert torch.equal(stream.take(36).pixels, first.pixels)
        assert sorted((tmp_path / "kept").rglob("*.npy")) == kept
    of_one = first.pixels[first.ids == 0]
    assert len({view.numpy().tobytes() for view in of_one}) > 2  # more views than windows
