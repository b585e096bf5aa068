"""Frames found by counting, in a file whose frames say their numbers."""

from types import SimpleNamespace

import av
import pytest

from tats_gym.clips.readers.container import Container
from tats_gym.clips.readers.counted_frames import CountedFrames
from tats_gym.clips.readers.video_reader import VideoReadError
from tests.video_files import frame_numbers, numbered_frames, write_video


@pytest.fixture(name="container")
def _container(tmp_path, monkeypatch):
    """A container of 12 frames that notes how many it was asked for, from the first on."""
    container = Container(write_video(tmp_path / "v.avi", numbered_frames(12), codec="mpeg4"))
    frames, container.asked = container.frames, []

    def noted():
        container.asked.append(0)
        for frame in frames():
            container.asked[-1] += 1
            yield frame

    monkeypatch.setattr(container, "frames", noted)
    yield container
    container.close()


def _numbers(video, wanted):
    places, frames = zip(*video.decode(wanted), strict=True)
    assert places == tuple(range(len(wanted)))
    return [frame_numbers(frame.to_ndarray(format="rgb24")[None])[0] for frame in frames]


@pytest.mark.parametrize("wanted", [[0], [7], [11], [2, 3, 9], range(12)])
def test_frames_are_those_that_were_asked_for(container, wanted):
    video = CountedFrames(container)
    assert len(video) == 12
    assert _numbers(video, wanted) == list(wanted)
    assert container.asked == [wanted[-1] + 1]  # none after the last


def test_reading_in_order_decodes_each_frame_once(container):
    video = CountedFrames(container)
    assert [_numbers(video, wanted) for wanted in ([0, 2], [3], [5, 6])] == [[0, 2], [3], [5, 6]]
    assert container.asked == [7]
    assert _numbers(video, [6]) == [6]  # again
    assert container.asked == [7, 7]


def test_a_frame_that_is_damaged_or_missing_is_an_error(container, monkeypatch):
    video = CountedFrames(container)
    damaged = [SimpleNamespace(is_corrupt=number == 2) for number in range(4)]
    monkeypatch.setattr(container, "frames", lambda: iter(damaged))
    assert [place for place, _ in video.decode([0, 1, 3])] == [0, 1, 2]
    for wanted in ([0, 2], [3, 4]):
        with pytest.raises(VideoReadError, match=rf"v\.avi: frame {wanted[1]} of 12 does not decode$"):
            list(video.decode(wanted))


def test_after_a_packet_that_does_not_decode_reading_begins_anew(container, monkeypatch):
    video, begun = CountedFrames(container), []

    def frames():
        begun.append(True)
        yield from (SimpleNamespace(is_corrupt=False) for _ in range(3))
        raise av.InvalidDataError(1, "broken")

    monkeypatch.setattr(container, "frames", frames)
    for wanted in ([4], [5]):
        with pytest.raises(VideoReadError, match=rf"frame {wanted[0]} of 12 does not decode \(.*broken"):
            list(video.decode(wanted))
    assert len(begun) == 2


def test_a_file_is_counted_once_for_each_version_of_it(container, monkeypatch):
    CountedFrames(container)
    with monkeypatch.context() as patched:
        patched.setattr(Container, "count_frames", lambda self: pytest.fail("its frames are counted again"))
        assert len(CountedFrames(container)) == 12
    write_video(container.path, numbered_frames(5), codec="mpeg4")
    other = Container(container.path)
    assert len(CountedFrames(other)) == 5
    other.close()
