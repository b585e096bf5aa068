"""Frames of a file with reliable packet times: decoded from the keyframe before them."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import av

from tats_gym.clips.readers.container import Container, SkipLevel
from tats_gym.clips.readers.frame_order import FrameOrder
from tats_gym.clips.readers.video_reader import Placed, frame_missing

DECODED: SkipLevel = "DEFAULT"

SEEK_GAP = 8
"""Longest gap between wanted frames, in frames, that is cheaper to decode than to seek over."""

SKIPPABLE: dict[str, SkipLevel] = {"h264": "NONREF", "mjpeg": "ALL"}
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

    def decode(self, wanted: Sequence[int]) -> Placed:
        """Yield the frames at the ascending indices `wanted`; of a frame yielded twice, the later one counts.

        Raises:
            VideoReadError: A frame does not decode.
        """
        for index in wanted:
            if self._order.times[index] in self._order.cut_short:
                raise frame_missing(self._container.path, index, len(self), None)
        for start, stretch in self._stretches(wanted):
            failure = None
            for packets, final in self._attempts(start):
                left = {self._order.times[wanted[place]]: place for place in stretch}
                try:
                    yield from self._pick(packets, left, from_the_beginning=final)
                except av.FFmpegError as err:
                    failure = err
                if not left:
                    break
            else:
                raise frame_missing(self._container.path, wanted[min(left.values())], len(self), failure)

    def _stretches(self, wanted: Sequence[int]) -> list[tuple[int, list[int]]]:
        """Split `wanted` into runs that are decoded in one pass: (number of the keyframe, places in `wanted`)."""
        stretches: list[tuple[int, list[int]]] = []
        reached = -math.inf
        for place, index in enumerate(wanted):
            start = bisect_right(self._order.starts, index, key=lambda start: start.before) - 1
            if self._order.starts[start].before > reached + SEEK_GAP:
                stretches.append((start, []))
            stretches[-1][1].append(place)
            reached = index
        return stretches

    def _attempts(self, start: int) -> Iterator[tuple[Iterator["av.Packet[av.VideoStream]"], bool]]:
        """Yield the packets from a keyframe on, from the one before it, and all packets, the latter with True."""
        for each in reversed(self._order.starts[max(start - 1, 0) : start + 1]):
            yield self._container.packets_from(each.position, each.decoded_at), False
        yield self._container.packets(), True

    def _pick(
        self, packets: Iterator["av.Packet[av.VideoStream]"], left: dict[int, int], *, from_the_beginning: bool
    ) -> Placed:
        """Yield the frames shown at the times in `left`, each with its place, and remove them from `left`.

        Args:
            packets: From a keyframe on.
            left: Times to places.
            from_the_beginning: Whether these are all packets; else decoding stops at a damaged frame.

        Raises:
            av.FFmpegError: A packet does not decode; the frames of earlier packets have been yielded.
        """
        needless = None if from_the_beginning else SKIPPABLE.get(self._container.codec)
        skip = (lambda time: DECODED if time in left else needless) if needless else None
        for frame in self._container.decode(packets, skip):
            if frame.is_corrupt:
                if not from_the_beginning:
                    return
            elif frame.pts in left:
                yield left.pop(frame.pts), frame
                if not left:
                    return
