"""A stream of clips that stay as they are: the centre views, in the order of the plain stream."""

from contextlib import closing

import pytest
import torch

from tats_gym.clips import ClipConfig, ClipStream, FixedClips, VideoReadError
from tests.video_files import noise_frames, write_video

VIDEOS = 5


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for number in range(VIDEOS):
        write_video(root / f"{number}.mp4", noise_frames(20 + number, 40, 64))
    return root


def streams(root, *, seed=0, shard=(0, 1), **settings):
    """Make the stream, and the plain one of the same settings."""
    config = ClipConfig(data="folder", root=str(root), **settings)
    kinds = (FixedClips, ClipStream)
    return (closing(kind(config, frames=4, size=16, seed=seed, shard=shard)) for kind in kinds)


@pytest.mark.parametrize("shard", [(0, 1), (0, 2), (1, 2)])
def test_the_order_is_that_of_the_plain_stream_and_the_clips_are_its_centre_views(folder, shard):
    fixed, plain = streams(folder, seed=3, shard=shard)
    with fixed as ours, plain as theirs:
        for count in (2, 9, 1):  # across epochs
            batch, expected = ours.take(count), theirs.take(count)
            assert torch.equal(batch.ids, expected.ids)
            assert torch.equal(batch.positions, expected.positions)
            assert torch.equal(batch.labels, expected.labels)
            assert torch.equal(batch.pixels, theirs.centre(batch.ids.tolist()).pixels)
        assert ours.position == theirs.position == 12
        assert torch.equal(ours.again([11, 0]).ids, theirs.again([11, 0]).ids)
        for stream in (ours, theirs):
            stream.seek(4, seed=8)
        assert torch.equal(ours.take(7).ids, theirs.take(7).ids)
        named = ours.centre([4, 4, 0])
        assert (named.ids.tolist(), named.positions.tolist()) == ([4, 4, 0], [-1, -1, -1])
        assert torch.equal(named.pixels, theirs.centre([4, 4, 0]).pixels)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_each_video_is_read_once(folder, tmp_path, num_workers):
    copies = [write_video(tmp_path / f"{number}.mp4", noise_frames(20, 40, 64)) for number in range(2)]
    fixed, _ = streams(tmp_path, num_workers=num_workers)
    with fixed as stream:
        first = stream.take(2)
        for path in copies:
            path.unlink()
        again = stream.take(2)
    assert torch.equal(first.pixels[first.ids.argsort()], again.pixels[again.ids.argsort()])


@pytest.mark.parametrize(
    "setting",
    [{"crop": "centre"}, {"crop_scale": 0.2}, {"flip": True}, {"randaug": "rand"}, {"erase": 0.1}, {"repeats": 2}],
    ids=str,
)
def test_settings_that_vary_clips_are_refused_by_name(folder, setting):
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"^{name} varies clips.* got {value!r}"):
        next(streams(folder, **setting))


def test_calls_that_the_plain_stream_refuses_are_refused_alike(folder, tmp_path):
    for stream in streams(folder):
        with stream as each:
            with pytest.raises(ValueError, match="count must be at least 1, got 0"):
                each.take(0)
            with pytest.raises(IndexError, match="positions must not be negative, got -2"):
                each.again([3, -2])
            with pytest.raises(IndexError, match=r"ids must lie in \[0, 5\), got 5"):
                each.centre([5])
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    fixed, _ = streams(tmp_path)
    with fixed as stream, pytest.raises(VideoReadError, match=r"broken\.mp4"):
        stream.take(1)
