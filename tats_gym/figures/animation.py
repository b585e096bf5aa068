"""Animations of masks: the rows of a mask figure side by side, one picture for each frame of the clip."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tats_gym.figures.masks import ClipMasks, Scales, add_scale, draw, figure_rows
from tats_gym.figures.titles import title_lines, with_target, write_title
from tats_gym.tokens import TokenGrid

PANEL_INCHES, LABEL_INCHES, SCALE_INCHES = 1.9, 0.8, 0.75
"""Side of a panel, height of its label, width of its colour scale."""
ACROSS = 5
"""Most panels in a line."""


def mask_animation(
    grid: TokenGrid,
    pixels: Tensor,
    seen: Sequence[ClipMasks],
    *,
    clip: int = 0,
    scales: Scales | None = None,
    title: str = "",
) -> NDArray[np.uint8]:
    """Draw one clip of a batch frame by frame; arguments and panels as in `mask_figure`.

    Returns:
        Pictures (T, height, width, 3), both sides even, as video codecs require.
    """
    panels = figure_rows(grid, pixels, seen, clip, scales or Scales.of(seen), every_frame=True)
    title = with_target(title, seen[0].reconstruction.target_name)
    dpi = float(np.clip(1.02 * grid.size / PANEL_INCHES, 80, 130))
    figure, axes = _panels(len(panels), title, dpi)
    canvas = FigureCanvasAgg(figure)
    artists = []
    for axis, panel in zip(axes, panels, strict=True):
        artists.append(draw(axis, panel.images[0], panel.top, PANEL_INCHES * dpi))
        axis.set_title(panel.label, fontsize=8)
        if panel.top is not None:
            add_scale(axis, artists[-1])
    pictures = []
    for frame in range(grid.frames):
        for artist, panel in zip(artists, panels, strict=True):
            artist.set_data(panel.images[frame])
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3]
        pictures.append(picture[: len(picture) // 2 * 2, : picture.shape[1] // 2 * 2].copy())
    return np.stack(pictures)


def _panels(count: int, title: str, dpi: float) -> tuple[Figure, list[Axes]]:
    """Make a figure and its panels, all of one size, in as few lines as possible."""
    down = -(-count // ACROSS)
    across = -(-count // down)
    width = across * (PANEL_INCHES + SCALE_INCHES) + 0.1
    head = 0.15 * len(title_lines(title, width))
    height = down * (PANEL_INCHES + LABEL_INCHES) + head + 0.1
    figure = Figure(figsize=(width, height), dpi=dpi)
    axes = figure.subplots(down, across, squeeze=False)
    figure.subplots_adjust(
        left=0.1 / width,
        right=1 - SCALE_INCHES / width,
        bottom=0.1 / height,
        top=1 - (head + LABEL_INCHES) / height,
        wspace=SCALE_INCHES / PANEL_INCHES,
        hspace=LABEL_INCHES / PANEL_INCHES,
    )
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    write_title(figure, title, y=1 - 0.05 / height)
    return figure, list(axes.flat[:count])


def write_gif(path: Path, pictures: NDArray[np.uint8], frames_per_s: float) -> None:
    """Write pictures (T, height, width, 3) as a GIF that loops."""
    images = [Image.fromarray(picture) for picture in pictures]
    images[0].save(path, save_all=True, append_images=images[1:], duration=1000 / frames_per_s, loop=0)


def write_mp4(path: Path, pictures: NDArray[np.uint8], frames_per_s: float) -> None:
    """Write pictures (T, height, width, 3), both sides even, as an MP4 in H.264 that browsers play."""
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(frames_per_s).limit_denominator(1000))
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
