"""A loader like the published VideoMAE's, for comparison: decord, PIL images, float tensors, a DataLoader.

Written anew from the definition (datasets.py, kinetics.py, transforms.py and masking_generator.py of
https://github.com/MCG-NJU/VideoMAE). It is not slower than the original: boxes come from the function that
`ClipStream` uses, and the tensor is normalised in place.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from tats_gym.clips.augment import multi_scale_crop_box, random_start, window_indices
from tats_gym.pixels import IMAGENET_MEAN, IMAGENET_STD
from tats_gym.tokens import TokenGrid

MASK_RATIO = 0.9
ENDLESS = 2**40


class PublishedClips(Dataset[tuple[Tensor, NDArray[np.int64]]]):
    """Clips (C, T, H, W), float32, normalised, each with a tube mask (L,) whose ones are hidden.

    Args:
        paths: Videos.
        grid: The clip's geometry.
        stride: Frames from one frame of a clip to the next.
    """

    def __init__(self, paths: Sequence[Path], grid: TokenGrid, stride: int) -> None:
        self.paths, self.grid, self.stride = [str(path) for path in paths], grid, stride
        self.mean, self.std = (torch.tensor(values)[:, None, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        self._rng: np.random.Generator | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, NDArray[np.int64]]:
        import decord  # after PyAV, whose VP9 encoder would otherwise load decord's libvpx

        self._rng = self._rng or np.random.default_rng(torch.initial_seed())  # different in every worker
        video = decord.VideoReader(self.paths[index], num_threads=1)
        window = len(video), self.grid.frames, self.stride
        frames = video.get_batch(window_indices(*window, random_start(*window, self._rng)).tolist()).asnumpy()
        return self.augment(frames, self._rng), tube_mask(self.grid, MASK_RATIO, self._rng)

    def augment(self, frames: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
        """Crop one box from all frames (T, H, W, C) as images, resize and normalise them: (C, T, H, W)."""
        images = [Image.fromarray(frame) for frame in frames]
        size = self.grid.size
        top, left, height, width = multi_scale_crop_box(images[0].height, images[0].width, size, rng)
        box = left, top, left + width, top + height
        images = [image.crop(box).resize((size, size), Image.Resampling.BILINEAR) for image in images]
        stacked = torch.from_numpy(np.stack([np.asarray(image) for image in images]))  # (T, H, W, C)
        clip: Tensor = stacked.permute(3, 0, 1, 2).contiguous().float().div_(255)
        return clip.sub_(self.mean).div_(self.std)


def tube_mask(grid: TokenGrid, mask_ratio: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Hide the same random places in every tubelet: (L,), 1 = hidden."""
    t, h, w = grid.shape
    places = np.zeros(h * w, np.int64)
    places[: int(mask_ratio * h * w)] = 1
    rng.shuffle(places)
    return np.tile(places, t)


def published_loader(
    paths: Sequence[Path], grid: TokenGrid, stride: int, *, batch_size: int, num_workers: int
) -> DataLoader[tuple[Tensor, NDArray[np.int64]]]:
    """Return an endless loader with the published settings: default collate, incomplete batches dropped."""
    clips = PublishedClips(paths, grid, stride)
    return DataLoader(
        clips,
        batch_size=batch_size,
        sampler=RandomSampler(clips, replacement=True, num_samples=ENDLESS),
        num_workers=num_workers,
        multiprocessing_context="forkserver",
        drop_last=True,
    )
