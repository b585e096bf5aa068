"""Pictures of masks: a clip, what the MAE makes of it, where it errs, and which tokens it saw."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from tats_gym.mae import Reconstruction
from tats_gym.tokens import CHANNELS, TokenGrid

HIDDEN_GREY = 128
COLUMN_INCHES = 1.0


def mask_figure(
    grid: TokenGrid,
    pixels: Tensor,
    reconstruction: Reconstruction,
    *,
    clip: int = 0,
    probabilities: Tensor | None = None,
    title: str = "",
) -> NDArray[np.uint8]:
    """Draw one clip of a batch, time from left to right, a column for each step of the token grid.

    Rows: frames; reconstruction of the hidden tokens, given back the true mean and deviation of each patch (which the
    MAE does not predict), the visible ones as they are; error of each hidden token; sampling probability relative to
    uniform, where given; the visible tokens.

    Args:
        grid: The clips' geometry.
        pixels: (B, C, T, H, W) uint8.
        reconstruction: What the MAE made of them.
        clip: Which clip of the batch.
        probabilities: (B, L) probability of each token at the first draw.
        title: A line above the picture.

    Returns:
        The picture (height, width, 3).
    """
    real = pixels[clip : clip + 1].cpu()
    mask = reconstruction.mask[clip].cpu()
    errors = reconstruction.spread(reconstruction.errors.detach())[clip].cpu()
    rows = [
        Row("frames", _frames(grid, real)),
        Row("reconstruction\n(true mean and\ndeviation)", _frames(grid, _repaint(grid, real, reconstruction, clip))),
        Row("error", _map(grid, errors.masked_fill(~mask, torch.nan)), is_map=True),
    ]
    if probabilities is not None:
        relative = probabilities[clip].detach().float().cpu() * grid.num_tokens
        rows.append(Row("probability\n(1 = uniform)", _map(grid, relative), is_map=True, least_top=2.0))
    rows.append(Row("visible tokens", _frames(grid, _grey_out(grid, real, mask))))
    return _compose(rows, title or "time runs from left to right")


class Row(NamedTuple):
    """One row of a figure."""

    label: str
    images: NDArray[Any]
    """(t, H, W, C) uint8 pictures, or (t, h, w) values."""
    is_map: bool = False
    """Values, drawn in colours from 0 to the largest, with a scale."""
    least_top: float = 1e-6
    """The colours end here where every value is smaller."""


def _compose(rows: Sequence[Row], title: str) -> NDArray[np.uint8]:
    columns = len(rows[0].images)
    width = columns + 1.9
    figure = Figure(figsize=(COLUMN_INCHES * width, COLUMN_INCHES * len(rows) + 0.35), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    figure.subplots_adjust(left=1.25 / width, right=1 - 0.65 / width, bottom=0.01, top=0.94, wspace=0.04, hspace=0.04)
    for across, row in zip(axes, rows, strict=True):
        scale: dict[str, Any] = {}
        if row.is_map:
            scale = {"cmap": "magma", "vmin": 0, "vmax": np.nanmax(row.images, initial=row.least_top)}
        for axis, image in zip(across, row.images, strict=True):
            axis.set(xticks=[], yticks=[])
            axis.set_facecolor("0.85")
            drawn = axis.imshow(image, interpolation="nearest", **scale)
        across[0].set_ylabel(row.label, rotation=0, ha="right", va="center", fontsize=8)
        if row.is_map:
            box = across[-1].get_position()
            bar = figure.add_axes((box.x1 + 0.01, box.y0 + 0.05 * box.height, 0.012, 0.9 * box.height))
            figure.colorbar(drawn, cax=bar).ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=9, y=0.985)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


def _frames(grid: TokenGrid, clips: Tensor) -> NDArray[np.uint8]:
    """Pick the first frame of every tubelet of one clip (1, C, T, H, W): (t, H, W, C)."""
    return rearrange(clips[0, :, :: grid.tubelet_size], "c t h w -> t h w c").numpy()


def _map(grid: TokenGrid, values: Tensor) -> NDArray[Any]:
    """Lay one value a token (L,) out as (t, h, w)."""
    return values.float().reshape(grid.shape).numpy()


def _repaint(grid: TokenGrid, clip: Tensor, reconstruction: Reconstruction, row: int) -> Tensor:
    """Replace the hidden tokens of one clip by the predicted ones, in uint8."""
    ids = reconstruction.ids_hidden[row].cpu()
    if not len(ids):
        return clip
    tokens = grid.cut(clip)[0]  # (L, P)
    true = tokens[ids].unflatten(-1, (CHANNELS, -1)).float()  # (M, C, P / C)
    deviation, mean = torch.std_mean(true, dim=-1, keepdim=True)
    pred = reconstruction.pred[row].detach().float().cpu().unflatten(-1, (-1, CHANNELS)).transpose(-1, -2)
    painted = (pred * (deviation + 1e-6 * 255) + mean).round().clamp(0, 255).to(torch.uint8)
    tokens[ids] = painted.flatten(-2)
    return grid.join(tokens[None])


def _grey_out(grid: TokenGrid, clip: Tensor, mask: Tensor) -> Tensor:
    tokens = grid.cut(clip)
    return grid.join(tokens.masked_fill(mask[None, :, None], HIDDEN_GREY))
