"""Frames of a file with reliable packet times: decoded from the keyframe before them."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import av

from tats_gym.clips.readers.container import Container, SkipLevel
from tats_gym.clips.readers.frame_order import FrameOrder
from tats_gym.clips.readers.video_reader import PlacedFrames, frame_error

DECODE_ALL: SkipLevel = "DEFAULT"

MAX_DECODED_GAP = 8
"""Longest gap between wanted frames, in frames, that is cheaper to decode than to seek over."""

SKIP_LEVELS: dict[str, SkipLevel] = {"h264": "NONREF", "mjpeg": "ALL"}
"""Codec to the discard level for unwanted frames that leaves the wanted ones intact."""


class TimedFrames:
    """Finds frames by the times at which they are shown.

    A seek may land after the keyframe, a recovery point of H.264 yields intact frames only after some others, and after
    a damaged keyframe frames differ from those of a decode from the beginning. Where a frame is missing or damaged,
    decoding starts again at the previous keyframe, and then at the beginning.
    """

    def __init__(self, container: Container, order: FrameOrder) -> None:
        self._container, self._order = container, order

    def __len__(self) -> int:
        return len(self._order.times)

    def decode(self, wanted: Sequence[int]) -> PlacedFrames:
        """Yield the frames at the ascending indices `wanted`; of a frame yielded twice, the later one counts.

        Raises:
            VideoReadError: If a frame does not decode.
        """
        for index in wanted:
            if self._order.times[index] in self._order.truncated:
                raise frame_error(self._container.path, index, len(self), None)
        for start, run in self._runs(wanted):
            failure = None
            for packets, final in self._attempts(start):
                wanted_times = {self._order.times[wanted[place]]: place for place in run}
                try:
                    yield from self._select(packets, wanted_times, from_the_beginning=final)
                except av.FFmpegError as err:
                    failure = err
                if not wanted_times:
                    break
            else:
                raise frame_error(self._container.path, wanted[min(wanted_times.values())], len(self), failure)

    def _runs(self, wanted: Sequence[int]) -> list[tuple[int, list[int]]]:
        """Split `wanted` into runs that are decoded in one pass: (number of the keyframe, places in `wanted`)."""
        runs: list[tuple[int, list[int]]] = []
        reached = -math.inf
        for place, index in enumerate(wanted):
            start = bisect_right(self._order.keyframes, index, key=lambda keyframe: keyframe.before) - 1
            if self._order.keyframes[start].before > reached + MAX_DECODED_GAP:
                runs.append((start, []))
            runs[-1][1].append(place)
            reached = index
        return runs

    def _attempts(self, start: int) -> Iterator[tuple[Iterator["av.Packet[av.VideoStream]"], bool]]:
        """Yield the packets from a keyframe on, from the one before it, and all packets, the latter with True."""
        for each in reversed(self._order.keyframes[max(start - 1, 0) : start + 1]):
            yield self._container.packets_from(each.position, each.decoded_at), False
        yield self._container.packets(), True

    def _select(
        self, packets: Iterator["av.Packet[av.VideoStream]"], wanted_times: dict[int, int], *, from_the_beginning: bool
    ) -> PlacedFrames:
        """Yield the frames shown at the times in `wanted_times` and their places, and remove these times.

        Args:
            packets: From a keyframe on.
            wanted_times: Times to places.
            from_the_beginning: Whether these are all packets; else decoding stops at a damaged frame.

        Raises:
            av.FFmpegError: If a packet does not decode; the frames of earlier packets have been yielded.
        """
        skip_level = None if from_the_beginning else SKIP_LEVELS.get(self._container.codec)
        skip = (lambda time: DECODE_ALL if time in wanted_times else skip_level) if skip_level else None
        for frame in self._container.decode(packets, skip):
            if frame.is_corrupt:
                if not from_the_beginning:
                    return
            elif frame.pts in wanted_times:
                yield wanted_times.pop(frame.pts), frame
                if not wanted_times:
                    return
