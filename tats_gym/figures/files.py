"""Writes mask pictures to files: a still with all frames side by side, or an animation of the clip."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import matplotlib.image
from torch import Tensor

from tats_gym.figures.animation import mask_animation, write_gif, write_mp4
from tats_gym.figures.masks import ClipMasks, Scales, mask_figure, sharp_dpi
from tats_gym.tokens import TokenGrid

Form = Literal["png", "gif", "mp4"]


class Picture(NamedTuple):
    """One clip under one mask of each agent."""

    grid: TokenGrid
    """Geometry of the clips."""
    pixels: Tensor
    """(B, C, T, H, W) in uint8."""
    seen: list[ClipMasks]
    """The masks to draw, one agent after the other."""
    clip: int
    """The row of `pixels` that is drawn."""
    scales: Scales
    """Ends of the colour scales."""
    title: str
    """Line above the picture."""

    def write(self, stem: Path, forms: Sequence[Form], frames_per_s: float) -> Iterator[Path]:
        """Write the picture in every form, and yield each path.

        Args:
            stem: Path without its suffix, which is the form.
            forms: Forms to write.
            frames_per_s: Frame rate of gif and mp4.
        """
        drawn = self.grid, self.pixels, self.seen
        if set(forms) != {"png"}:
            pictures = mask_animation(*drawn, clip=self.clip, scales=self.scales, title=self.title)
        for form in forms:
            path = stem.with_name(f"{stem.name}.{form}")
            if form == "png":
                title = f"Time runs from left to right; {self.title}"
                dpi = sharp_dpi(self.grid)
                still = mask_figure(*drawn, clip=self.clip, scales=self.scales, title=title, dpi=dpi)
                matplotlib.image.imsave(path, still)
            else:
                {"gif": write_gif, "mp4": write_mp4}[form](path, pictures, frames_per_s)
            yield path
