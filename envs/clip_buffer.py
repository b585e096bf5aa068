"""The clip buffer: the clips that a batch of environments masks next."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import error
from numpy.typing import NDArray
from torch import Tensor

from tats_gym.clips import ClipBatch, ClipStream
from tats_gym.envs.visible_count import VisibleCount
from tats_gym.messages import brief
from tats_gym.train.device_copy import DeviceCopy, copy_stream


class ClipBuffer:
    """Holds the clips of a stream on the device, one for every `masks_per_clip` consecutive environments.

    Args:
        stream: Source of the clips.
        num_envs: B, the number of environments.
        masks_per_clip: G, the number of environments that share a clip; divides B.
        visible: Gives the number of tokens that the next step shows of them.
        device: Device of the pixels.

    Raises:
        ValueError: If G does not divide B.
    """

    def __init__(
        self, stream: ClipStream, num_envs: int, masks_per_clip: int, visible: VisibleCount, device: torch.device
    ) -> None:
        if num_envs % masks_per_clip:
            raise ValueError(f"num_envs must be a multiple of masks_per_clip, got {num_envs} and {masks_per_clip}")
        self.stream, self.visible = stream, visible
        self.masks_per_clip = masks_per_clip
        self.num_clips = num_envs // masks_per_clip
        """Number of clips, B / G."""
        self.clips = torch.zeros(num_envs, dtype=torch.int64)
        """Clip id (B,) of each environment, on the host."""
        self.positions = torch.full((num_envs,), -1)
        """Stream position (B,) of each environment's clip, for `stream.again`; -1 for clips requested by id."""
        self._pixels: DeviceCopy | None = None
        self._device = device
        self._copy_stream = copy_stream(device)
        self._closed = False

    @property
    def is_empty(self) -> bool:
        """Whether no clips have been taken yet."""
        return self._pixels is None

    @property
    def num_visible(self) -> int:
        """K of these clips' masks."""
        return self.visible.at(self.stream.seed, int(self.positions.max()))

    @property
    def pixels(self) -> Tensor:
        """The clips (B / G, C, T, H, W), uint8, on the device.

        Raises:
            ResetNeeded: If no clips have been taken yet.
            ClosedEnvironmentError: If the environment is closed.
        """
        self.check_ready()
        assert self._pixels is not None
        return self._pixels.get()

    def check_ready(self) -> None:
        """Raise ClosedEnvironmentError after `close`, and ResetNeeded before the first clips."""
        self.check_open()
        if self._pixels is None:
            raise error.ResetNeeded("call reset() before the first step")

    def check_open(self) -> None:
        """Raise ClosedEnvironmentError after `close`."""
        if self._closed:
            raise error.ClosedEnvironmentError("the environment is closed; make it again to go on")

    def close(self) -> None:
        """Stop the stream's workers."""
        self._closed = True
        self.stream.close()

    def take_next(self) -> None:
        """Take the stream's next clips."""
        self.check_open()
        self._hold(self.stream.take(self.num_clips))

    def check_named(self, clips: Any) -> list[int]:
        """Return clip ids as `take_named` expects them, or raise gymnasium's Error."""
        try:
            ids = np.asarray(clips).reshape(-1)
        except (ValueError, TypeError, RuntimeError) as err:
            raise error.Error(f"options['clips'] must be a list of clip ids, got {brief(clips)}") from err
        if len(ids) != self.num_clips:
            each = "environment" if self.masks_per_clip == 1 else f"{self.masks_per_clip} environments"
            raise error.Error(f"options['clips'] must name {self.num_clips} clips, one for each {each}, got {len(ids)}")
        if not np.issubdtype(ids.dtype, np.integer):
            raise error.Error(f"options['clips'] must be whole numbers, got {brief(clips)}")
        number = len(self.stream.videos)
        outside = ids[(ids < 0) | (ids >= number)]
        if len(outside):
            raise error.Error(f"options['clips'] must lie in [0, {number}), got {outside[0]}")
        return [int(id_) for id_ in ids]

    def take_named(self, ids: Sequence[int]) -> None:
        """Take the B / G clips with these ids, checked by `check_named`, in their centre view."""
        self._hold(self.stream.centre(ids))

    def replace(self, which: NDArray[np.bool_]) -> None:
        """Replace the clips where `which` (B,) is True by the stream's next ones; G must be 1."""
        pixels = self.pixels.clone()
        batch = self.stream.take(int(which.sum()))
        rows = torch.from_numpy(np.flatnonzero(which))
        pixels[rows.to(self._device)] = batch.pixels.to(self._device)
        self._pixels = DeviceCopy(pixels, self._device)
        self.clips, self.positions = self.clips.clone(), self.positions.clone()  # infos hold the old ones
        self.clips[rows], self.positions[rows] = batch.ids, batch.positions

    def for_each_mask(self, by_clip: Tensor) -> Tensor:
        """Repeat each clip's row of (B / G, ...) for its G masks: (B, ...)."""
        return by_clip if self.masks_per_clip == 1 else by_clip.repeat_interleave(self.masks_per_clip, 0)

    def _hold(self, batch: ClipBatch) -> None:
        self._pixels = DeviceCopy(batch.pixels, self._device, self._copy_stream)
        self.clips, self.positions = self.for_each_mask(batch.ids), self.for_each_mask(batch.positions)
