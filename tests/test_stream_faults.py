"""Broken videos are replaced and counted, and wrong settings are refused."""

import json
import logging
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tats_gym.clips import ClipConfig, VideoReadError
from tats_gym.clips.decoder import ClipDecoder
from tats_gym.clips.distortions import distorting
from tests.test_stream import stream_of
from tests.video_files import noise_frames, write_video

pytestmark = pytest.mark.long


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_video_is_replaced_counted_and_logged_once(tmp_path, caplog, num_workers):
    for number in range(3):
        write_video(tmp_path / f"{number}.mp4", noise_frames(9))
    broken = tmp_path / "1.mp4"
    broken.write_bytes(b"no video")
    with stream_of(tmp_path, num_workers=num_workers) as stream, caplog.at_level(logging.WARNING):
        ids = stream.take(12).ids.tolist()
    assert set(ids) == {0, 2}
    assert stream.broken.keys() == {str(broken)}
    assert stream.broken[str(broken)] >= 4  # once an epoch, and whenever a replacement falls on it
    assert [str(broken) in message for message in caplog.messages] == [True]
    with stream_of(tmp_path) as again:
        assert again.take(12).ids.tolist() == ids


@pytest.mark.parametrize("num_workers", [0, 1])
def test_only_broken_videos_are_an_error_that_names_the_last(tmp_path, num_workers):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with stream_of(tmp_path, num_workers=num_workers) as stream:
        with pytest.raises(VideoReadError, match=r"20 videos in a row .*a\.mp4: it does not decode"):
            stream.take(1)
        assert stream.position == 0
        with pytest.raises(VideoReadError, match=r"a\.mp4: it does not decode"):
            stream.centre([0])


class Hanging(ClipDecoder):
    """A decoder that never comes back from the file hung.mp4."""

    def _open(self, id_):
        if self.path(id_).endswith("hung.mp4"):
            time.sleep(600)
        return super()._open(id_)


def hanging(stream):
    stream._decoder = stream._eval_clips._decoder = Hanging(
        stream.config, stream.videos.videos, stream.frames, stream.size
    )
    return stream


def test_a_video_that_hangs_is_replaced_and_a_resumed_run_replaces_it_again(tmp_path, caplog):
    videos, journal = tmp_path / "videos", tmp_path / "replaced.jsonl"
    for name in ("0", "1", "hung"):
        write_video(videos / f"{name}.mp4", noise_frames(9))
    start = time.monotonic()
    with stream_of(videos, num_workers=2, time_limit_s=2) as stream, caplog.at_level(logging.WARNING):
        stream.keep_journal(journal)
        whole = hanging(stream).take(9)
        with pytest.raises(VideoReadError, match=r"hung\.mp4: reading it took more than 2 s"):
            stream.centre([2])
    assert time.monotonic() - start < 90
    assert set(whole.ids.tolist()) == {0, 1}
    assert [message.count("hung.mp4") for message in caplog.messages] == [1]
    noted = [json.loads(line) for line in journal.read_text().splitlines()]
    assert {Path(each["video"]).name for each in noted} == {"hung.mp4"}
    assert all(each["cause"].endswith("took more than 2 s") for each in noted)
    # The file is sound now. A stream without the journal takes it; the run that goes on does not.
    with stream_of(videos) as other:
        assert 2 in other.take(9).ids
    with journal.open("a") as file:
        file.write('{"seed": 0, "rank": 0, "dr')  # the run was killed here
    with stream_of(videos) as resumed:
        resumed.keep_journal(journal)
        resumed.seek(3)
        rest = resumed.take(6)
    assert torch.equal(rest.pixels, whole.pixels[3:])
    with stream_of(videos, seed=1) as other:
        other.keep_journal(journal)
        assert 2 in other.take(9).ids  # the journal of another seed does not concern this one


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_folder_that_is_gone_for_a_while_does_not_change_the_run_that_goes_on(tmp_path, num_workers):
    videos, journal = tmp_path / "videos", tmp_path / "replaced.jsonl"
    for number in range(5):
        write_video(videos / f"{number}.mp4", noise_frames(20 + number))
    (videos / "1.mp4").write_bytes(b"no video")
    with stream_of(videos, max_broken=1) as stream:
        whole = stream.take(40)
    with stream_of(videos, max_broken=1, num_workers=num_workers) as stream:
        stream.keep_journal(journal)
        stream.take(8)
        noted = len(journal.read_text().splitlines())
        assert noted >= 1
        videos.rename(tmp_path / "gone")
        with pytest.raises(VideoReadError, match=r"20 videos in a row could not be read; .*No such file"):
            stream.take(32)
    (tmp_path / "gone").rename(videos)
    with stream_of(videos, max_broken=1, num_workers=num_workers) as resumed:
        resumed.keep_journal(journal)
        resumed.seek(8)
        rest = resumed.take(32)
    assert torch.equal(rest.pixels, whole.pixels[8:])
    assert all(json.loads(line)["video"] == str(videos / "1.mp4") for line in journal.read_text().splitlines())


def test_too_many_broken_videos_stop_the_stream(tmp_path):
    for number in range(9):
        write_video(tmp_path / f"{number}.mp4", noise_frames(5))
    (tmp_path / "9.mp4").write_bytes(b"no video")
    with stream_of(tmp_path, max_broken=0.2) as stream:
        stream.take(300)
    with (
        stream_of(tmp_path, max_broken=0.05) as stream,
        pytest.raises(VideoReadError, match=r"10 of 100 clips could not be read, more than max_broken 0\.05"),
    ):
        stream.take(300)


class FailsOnGrey:
    """A RandAugment that one kind of clip makes fail."""

    def __call__(self, frames, rng):
        if frames.std() < 5:
            with distorting("PosterizeIncreasing(0,)"):
                raise ValueError("bits must be between 1 and 8")
        return frames


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_clip_that_cannot_be_augmented_is_replaced_named_and_bounded(tmp_path, caplog, num_workers):
    for number in range(9):
        write_video(tmp_path / f"{number}.mp4", noise_frames(5))
    grey = write_video(tmp_path / "9.mp4", np.full((5, 32, 64, 3), 90, np.uint8))
    with stream_of(tmp_path, max_broken=0.05, num_workers=num_workers) as stream, caplog.at_level(logging.WARNING):
        stream._decoder._rand_augment = FailsOnGrey()
        assert set(stream.take(20).ids.tolist()) == set(range(9))
        with pytest.raises(VideoReadError, match=r"10 of 100 clips could not be read, more than max_broken 0\.05"):
            stream.take(280)
    [message] = caplog.messages
    assert message.startswith(
        f"{grey}: RandAugment: PosterizeIncreasing(0,): ValueError('bits must be between 1 and 8')"
    )
    assert re.search(r"\(Draw\(seed=0, epoch=0, id=9\), attempt 0\); another video takes its place", message)


@pytest.mark.parametrize("part", ["crop_and_resize", "erase"])
def test_a_clip_that_cannot_be_cut_or_erased_is_replaced(tmp_path, monkeypatch, part):
    def fail(*_, **__):
        raise RuntimeError("no box")

    write_video(tmp_path / "0.mp4", noise_frames(5))
    monkeypatch.setattr(f"tats_gym.clips.decoder.{part}", fail)
    with (
        stream_of(tmp_path, erase=1.0) as stream,
        pytest.raises(VideoReadError, match=rf"20 videos in a row .*0\.mp4: {part}: RuntimeError\('no box'\)"),
    ):
        stream.take(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "kinetics"}, "data must be one of .*; got 'kinetics'"),
        ({"split": "tset"}, "split must be one of .*; got 'tset'; did you mean 'test'"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"sampling": "dense"}, "sampling must be one of .*; got 'dense'"),
        ({"crop_scale": 0}, r"crop_scale must lie in \(0, 1\], got 0"),
        ({"randaug": "augmix-m3"}, "randaug must read like 'rand-m9-n2-mstd0.5-inc1', got 'augmix-m3'"),
        ({"erase": 1.5}, r"erase must lie in \[0, 1\], got 1.5"),
        ({"crop": "random"}, "crop must be one of .*; got 'random'"),
        ({"reader": "opencv"}, "reader must be one of .*; got 'opencv'"),
        ({"num_workers": -1}, "num_workers must not be negative, got -1"),
        ({"data": "ucf101", "fold": 4}, "fold must .* got 4"),
        ({"subset": 0.0}, "subset must .* got 0"),
        ({"data": "ssv2", "flip": True}, "flip must be off for ssv2"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"time_limit_s": 0}, "time_limit_s must be positive, got 0"),
        ({"max_broken": 5}, r"max_broken must lie in \[0, 1\], got 5"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ClipConfig(**settings)
