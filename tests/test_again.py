"""A stream makes clips anew from their positions, bit for bit, at any moment."""

from contextlib import closing, contextmanager

import pytest
import torch

from tats_gym.clips import ClipConfig, ClipStream, VideoReadError
from tests.video_files import noise_frames, write_video

VIDEOS = 5
DISTORTED = {"erase": 0.5, "flip": True, "crop": "random_resized"}


@pytest.fixture(name="folder")
def _folder(tmp_path):
    """Five videos of noise, the second of which cannot be read."""
    for number in range(VIDEOS):
        write_video(tmp_path / "videos" / f"{number}.mp4", noise_frames(20 + number, 40, 64))
    (tmp_path / "videos" / "1.mp4").write_bytes(b"no video")
    return tmp_path / "videos"


@contextmanager
def stream_of(root, *, seed=0, **settings):
    config = ClipConfig(data="folder", root=str(root), max_broken=1, **settings)
    with closing(ClipStream(config, frames=4, size=16, seed=seed)) as stream:
        yield stream


def rows(batch, chosen):
    """The known facts of the clips at some rows of a batch."""
    return batch.pixels[chosen], batch.ids[chosen], batch.labels[chosen], batch.positions[chosen]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repeats": 2, **DISTORTED},
        {"repeats": 3, "cache_windows": 2, "num_workers": 2},
    ],
    ids=["plain", "repeats, distorted", "repeats, window cache, workers"],
)
def test_clips_come_again_as_they_were_taken(folder, tmp_path, settings):
    if "cache_windows" in settings:
        settings = {**settings, "cache_dir": str(tmp_path / "kept")}
    with stream_of(folder, **{**settings, "num_workers": 0}) as plain:
        whole = plain.take(33)
    assert whole.positions.tolist() == list(range(33))
    assert set(whole.ids.tolist()) == {0, 2, 3, 4}
    with stream_of(folder, **settings) as stream:
        for taken, asked in ((9, [8, 0, 3, 3, 7]), (20, [19, 1, 2, 12]), (28, [5])):
            batch = stream.take(taken - stream.position)
            chosen = list(range(taken - len(batch.ids), taken))
            assert same(rows(batch, slice(None)), rows(whole, chosen))
            for _ in range(2):
                assert same(rows(stream.again(asked), slice(None)), rows(whole, asked))
            assert stream.position == taken
        assert same(rows(stream.take(5), slice(None)), rows(whole, list(range(28, 33))))


def test_clips_come_again_after_the_run_was_resumed_with_its_journal(folder, tmp_path):
    with stream_of(folder) as stream:
        stream.keep_journal(tmp_path / "journal.jsonl")
        whole = stream.take(12)
    replaced = [position for position in range(12) if position in stream._plan._attempts]
    assert replaced
    write_video(folder / "1.mp4", noise_frames(9))  # sound by now
    with stream_of(folder) as resumed:
        resumed.keep_journal(tmp_path / "journal.jsonl")
        resumed.seek(12)
        assert same(rows(resumed.again(range(12)), slice(None)), rows(whole, slice(None)))
    with stream_of(folder) as forgetful:
        forgetful.seek(12)
        assert forgetful.again(replaced).ids.eq(1).any()


def test_each_seed_has_clips_of_its_own(folder):
    with stream_of(folder) as stream, stream_of(folder, seed=1) as other:
        first, second = stream.take(4), other.take(4)
        assert not torch.equal(first.pixels, second.pixels)
        stream.seek(0, seed=1)
        stream.take(4)
        assert torch.equal(stream.again(range(4)).pixels, second.pixels)


def test_clips_asked_for_by_id_have_no_position(folder):
    with stream_of(folder) as stream:
        assert stream.centre([0, 2]).positions.tolist() == [-1, -1]


def test_clips_without_a_position_cannot_come_again(folder):
    with stream_of(folder) as stream, pytest.raises(IndexError, match="positions must not be negative, got -1"):
        stream.again([0, -1])


def test_a_video_that_is_gone_is_named_and_left_out(folder, caplog):
    with stream_of(folder) as stream:
        batch = stream.take(6)
        (folder / "3.mp4").unlink()
        gone, left = (batch.positions[batch.ids.eq(3) == here].tolist() for here in (True, False))
        for _ in range(2):
            again = stream.again([*gone, *left])
            assert again.positions.tolist() == left
            assert torch.equal(again.pixels, batch.pixels[left])
            assert torch.equal(again.ids, batch.ids[left])
        assert stream.broken[str(folder / "3.mp4")] == 2
        assert sum("3.mp4" in message for message in caplog.messages) == 1
        with pytest.raises(VideoReadError, match="none of 1 clips can be read any more"):
            stream.again(gone[:1])
