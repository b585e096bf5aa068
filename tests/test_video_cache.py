"""Videos are decoded once and kept while there is room."""

import av
import numpy as np
import pytest

from tats_gym.clips.caches.video_cache import VideoCache
from tats_gym.clips.readers import VideoReadError, open_video
from tests.video_files import noise_frames, write_video


@pytest.fixture(name="paths", scope="module")
def _paths(tmp_path_factory):
    """Three videos of 100 x 64 x 96 frames, 1.76 MiB each when decoded."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / f"{number}.mp4" for number in range(3)]
    for path in paths:
        write_video(path, noise_frames(100, 64, 96))
    return paths


def test_a_kept_video_gives_the_frames_of_the_file_even_when_that_is_gone(paths, tmp_path):
    path = tmp_path / "gone.mp4"
    path.write_bytes(paths[0].read_bytes())
    video = open_video(path)
    expected = video.get_batch([7, 3, 3, 99])
    video.close()
    cache = VideoCache(4, "auto")
    cache.open(path).close()
    path.unlink()
    kept = cache.open(path)
    assert (len(kept), kept.fps) == (100, video.fps)
    np.testing.assert_array_equal(kept.get_batch([7, 3, 3, 99]), expected)
    with pytest.raises(VideoReadError, match="frame 100 was asked for, it has 100"):
        kept.get_batch([100])


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize("size_mib", [0, 1, 16])
def test_the_same_part_of_a_damaged_video_is_read_with_and_without_room(tmp_path, size_mib, reader):
    path = write_video(tmp_path / "v.mp4", noise_frames(30), options={"g": "10"})
    with av.open(path) as container:
        first = next(container.demux(video=0))
    content = bytearray(path.read_bytes())
    content[first.pos : first.pos + first.size] = bytes(first.size)
    path.write_bytes(content)
    alone, kept = (VideoCache(size, reader).open(path) for size in (0, size_mib))
    whole = range(len(alone) - 10, len(alone) - 2)  # pyav counts from the first frame that decodes
    np.testing.assert_array_equal(kept.get_batch(whole), alone.get_batch(whole))


@pytest.mark.parametrize(("size_mib", "kept"), [(0, 0), (1, 0), (2, 1), (4, 2), (6, 3)])
def test_videos_are_kept_while_there_is_room(paths, size_mib, kept):
    cache = VideoCache(size_mib, "auto")
    for path in paths:
        cache.open(path).close()
    assert sum(cache.open(path) is cache.open(path) for path in paths) == kept
