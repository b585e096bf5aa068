"""Pictures of masks that move: the rows of a mask figure side by side, a picture for each frame of the clip."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tats_gym.figures import Masked, Scales, draw, rows, write_title
from tats_gym.tokens import TokenGrid

PANEL_INCHES = 1.9


def mask_animation(
    grid: TokenGrid,
    pixels: Tensor,
    seen: Sequence[Masked],
    *,
    clip: int = 0,
    scales: Scales | None = None,
    title: str = "",
) -> NDArray[np.uint8]:
    """Draw one clip of a batch as it plays; arguments and panels as in `mask_figure`.

    Returns:
        A picture for each frame (T, height, width, 3), both sides even, as video codecs want them.
    """
    panels = rows(grid, pixels, seen, clip, scales or Scales.of(seen), every_frame=True)
    across = min(len(panels), 4)
    down = -(-len(panels) // across)
    figure = Figure(figsize=(PANEL_INCHES * across, (PANEL_INCHES + 0.5) * down + 0.3), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False).flat
    artists = []
    for axis, panel in zip(axes, panels, strict=False):
        artists.append(draw(axis, panel.images[0], panel.top))
        axis.set_title(panel.label, fontsize=8)
        if panel.top is not None:
            figure.colorbar(artists[-1], ax=axis, extend="max", shrink=0.8).ax.tick_params(labelsize=7)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    write_title(figure, title)
    pictures = []
    for frame in range(grid.frames):
        for artist, panel in zip(artists, panels, strict=True):
            artist.set_data(panel.images[frame])
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3]
        pictures.append(picture[: len(picture) // 2 * 2, : picture.shape[1] // 2 * 2].copy())
    return np.stack(pictures)


def write_gif(path: Path, pictures: NDArray[np.uint8], frames_per_s: float) -> None:
    """Write pictures (T, height, width, 3) as a GIF that starts again at its end."""
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
