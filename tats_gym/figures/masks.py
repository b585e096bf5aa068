"""Figures of masks: a clip, the MAE's reconstruction, its errors, and the visible tokens."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from einops import rearrange
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from tats_gym.clips.readable import evenly_spaced
from tats_gym.figures.canvas import pixels_of
from tats_gym.figures.titles import title_lines, with_target, write_title
from tats_gym.model.target import PIXELS
from tats_gym.model.videomae import Reconstruction
from tats_gym.tokens import CHANNELS, TokenGrid

HIDDEN_GREY = 128
COLUMN_INCHES = 1.0
DPI, SHARPEST_DPI = 100.0, 250.0
"""Default resolution of a figure, and the highest one where every pixel of a clip is shown."""
COLUMNS = 8
"""Most columns of a figure; of a longer clip, evenly spaced tubelets are shown."""
GAP = 0.04
"""Space between the pictures of a figure, as a share of their width."""
MAP_COLOURS = matplotlib.colormaps["magma"].with_extremes(bad="0.85")
"""Colours of a map, with grey where it is NaN, not predicted."""
NAME_CHARACTERS = 17
"""Most characters of an agent's name on a line."""
TOP_SHARE = 0.995
"""Quantile at which colour scales end; values above have the top colour."""


class ClipMasks(NamedTuple):
    """One agent's masks of a batch of clips, with the MAE's reconstruction."""

    name: str
    """The agent's name."""
    reconstruction: Reconstruction
    probabilities: Tensor | None = None
    """(B, L) probability of each token at the first draw, if the agent has them."""

    def errors(self, clip: int) -> Tensor:
        """Return the error (L,) of each token of a clip, NaN where it is not predicted; on the host."""
        reconstruction = self.reconstruction
        spread = reconstruction.spread(reconstruction.errors.detach())[clip]
        return spread.masked_fill(~reconstruction.predicted[clip], torch.nan).cpu()

    def relative(self, clip: int) -> Tensor | None:
        """Return the ratio (L,) of each token's probability to a uniform one, for a clip; on the host."""
        if self.probabilities is None:
            return None
        return self.probabilities[clip].detach().float().cpu() * self.probabilities.shape[1]


@dataclass(frozen=True)
class Scales:
    """Upper ends of the colour scales; figures that are compared share them."""

    error: float
    """Error of a token."""
    probability: float
    """Ratio of a token's probability to a uniform one."""

    @staticmethod
    def of(batches: Sequence[ClipMasks]) -> "Scales":
        """Return the scales that fit all clips of these batches.

        They end at round numbers, so that the figures of one training share their colours until errors or probabilities
        change much.
        """
        errors, relative = [torch.zeros(1)], [torch.full((1,), 2.0)]
        for masked in batches:
            for clip in range(len(masked.reconstruction.mask)):
                errors.append(masked.errors(clip))
                relative_errors = masked.relative(clip)
                relative += [] if relative_errors is None else [relative_errors]
        return Scales(*(_rounded_up(max(_top(values), 1e-6)) for values in (errors, relative)))


def _top(values: Sequence[Tensor]) -> float:
    """Return the quantile `TOP_SHARE` of all values, or the single value of the first tensor if it is higher."""
    return max(float(np.nanquantile(torch.cat(list(values)).numpy(), TOP_SHARE)), values[0].item())


def _rounded_up(value: float) -> float:
    """Round up to 1, 1.5, 2, 3, 4, 6, ... or a half, quarter, ... of these; an excess of 0.1 % is ignored."""
    below = 2.0 ** math.floor(math.log2(value / 1.001))
    return 1.5 * below if value <= 1.5015 * below else 2 * below


class Row(NamedTuple):
    """One row of a mask figure."""

    label: str
    images: NDArray[Any]
    """(t, H, W, C) uint8 pictures, or (t, h, w) values."""
    top: float | None = None
    """Upper end of the colour scale of values, which begins at 0; None for pictures."""


def figure_rows(
    grid: TokenGrid, pixels: Tensor, seen: Sequence[ClipMasks], clip: int, scales: Scales, *, every_frame: bool = False
) -> list[Row]:
    """Return the rows of the figure of one clip of a batch, see `mask_figure`.

    Args:
        grid: The clips' geometry.
        pixels: (B, C, T, H, W) uint8.
        seen: The agent, and those that it is compared with.
        clip: Index of the clip in the batch.
        scales: Upper ends of the colour scales.
        every_frame: Pictures and maps of all T frames, instead of one per tubelet.
    """
    first, real = seen[0], pixels[clip : clip + 1].cpu()
    paintable = first.reconstruction.target_name == PIXELS
    step, repeats = (1, grid.tubelet_size) if every_frame else (grid.tubelet_size, 1)
    names = ["" if len(seen) == 1 else "\n".join([",", *textwrap.wrap(each.name, NAME_CHARACTERS)]) for each in seen]

    def visible(masked: ClipMasks, name: str) -> Row:
        shown = _grey_out(grid, real, masked.reconstruction.mask[clip].cpu())
        return Row(f"visible tokens{name}", _pictures(shown, step))

    def error(masked: ClipMasks, name: str) -> Row:
        errors = masked.errors(clip)
        mean = f"\n(mean {errors.nanmean().item():.3f})" if masked.reconstruction.ids_hidden.shape[1] else ""
        predicted = "" if paintable else f"\nof {masked.reconstruction.target_name}"
        return Row(f"error{name}{predicted}{mean}", _maps(grid, errors, repeats), scales.error)

    drawn = [Row("frames", _pictures(real, step))]
    if paintable and first.reconstruction.pred.shape[-1] == grid.patch_values:  # else of an MAE of another package
        painted = _pictures(_repaint(grid, real, first.reconstruction, clip), step)
        drawn.append(Row(f"reconstruction{names[0]}\n(true mean and\ndeviation)", painted))
    drawn.append(error(first, names[0]))
    if (relative := first.relative(clip)) is not None:
        maps = _maps(grid, relative, repeats)
        drawn.append(Row(f"probability{names[0]}\n(1 = uniform)", maps, scales.probability))
    drawn.append(visible(first, names[0]))
    for other, name in zip(seen[1:], names[1:], strict=True):
        drawn += [error(other, name), visible(other, name)]
    return drawn


def _pictures(clip: Tensor, step: int) -> NDArray[np.uint8]:
    """Take every `step`-th frame of a clip (1, C, T, H, W) as a picture (H, W, C)."""
    return rearrange(clip[0, :, ::step], "c t h w -> t h w c").numpy()


def _maps(grid: TokenGrid, values: Tensor, repeats: int) -> NDArray[Any]:
    """Lay out one value per token (L,) as a map (h, w) for each tubelet, repeated in time."""
    return np.repeat(values.float().reshape(grid.shape).numpy(), repeats, axis=0)


def mask_figure(
    grid: TokenGrid,
    pixels: Tensor,
    seen: Sequence[ClipMasks],
    *,
    clip: int = 0,
    scales: Scales | None = None,
    title: str = "",
    dpi: float = DPI,
) -> NDArray[np.uint8]:
    """Draw one clip of a batch, time from left to right, a column for each tubelet, eight at most.

    Rows: frames; reconstruction of the hidden tokens, with the true mean and std of each patch (which the MAE
    does not predict), beside the visible ones, if the MAE predicts pixels; error of each hidden token; sampling
    probability relative to uniform, if given; the visible tokens. For each further agent: error and visible tokens.

    Args:
        grid: The clips' geometry.
        pixels: (B, C, T, H, W) uint8.
        seen: The agent, and those that it is compared with.
        clip: Index of the clip in the batch.
        scales: Upper ends of the colour scales; those of this batch if None.
        title: A line above the picture.
        dpi: Dots per inch, the width of a column; see `sharp_dpi`.

    Returns:
        The picture (height, width, 3).
    """
    drawn = figure_rows(grid, pixels, seen, clip, scales or Scales.of(seen))
    title = with_target(title or "time runs from left to right", seen[0].reconstruction.target_name)
    return _compose(drawn, title, grid.tubelet_size, dpi)


def sharp_dpi(grid: TokenGrid) -> float:
    """Return the dots per inch at which a figure shows every pixel of clips of the usual sizes."""
    return float(np.clip(1.1 * grid.size / COLUMN_INCHES, DPI, SHARPEST_DPI))


def choice_figure(grid: TokenGrid, visible_share: Tensor, *, title: str = "") -> NDArray[np.uint8]:
    """Draw how often masks show each tubelet and each place, beside chance.

    Args:
        grid: The clips' geometry.
        visible_share: (L,) share of the masks that show a token.
        title: A line above the picture.

    Returns:
        The picture (height, width, 3).
    """
    laid_out = visible_share.float().cpu().reshape(grid.shape).numpy()
    chance = float(laid_out.mean())
    figure = Figure(figsize=(8, 3.4), dpi=100)
    over_time = figure.add_axes((0.08, 0.14, 0.44, 0.73))
    over_space = figure.add_axes((0.575, 0.11, 0.3, 0.74))
    over_time.bar(range(len(laid_out)), laid_out.mean((1, 2)))
    over_time.axhline(chance, color="0.4", ls="--", lw=1, label="chance")
    over_time.legend(fontsize=8, loc="lower right")
    over_time.set(xlabel="tubelet, in the order of time", ylabel="share of its tokens that masks show")
    over_time.set_xticks(range(0, len(laid_out), math.ceil(len(laid_out) / 8)))
    drawn = draw(over_space, laid_out.mean(0), max(2 * chance, float(laid_out.mean(0).max())))
    over_space.set_title("share of masks that show a place", fontsize=9)
    bar = figure.colorbar(drawn, cax=figure.add_axes((0.89, 0.12, 0.018, 0.72)))
    bar.ax.axhline(chance, color="white")
    bar.set_label("white line: chance", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return pixels_of(figure)


def _compose(rows: Sequence[Row], title: str, tubelet_size: int, dpi: float) -> NDArray[np.uint8]:
    steps = len(rows[0].images)
    shown = evenly_spaced(range(steps), COLUMNS)
    width = len(shown) + 1.9
    head = 0.35 + 0.15 * len(title_lines(title, width))
    figure = Figure(figsize=(COLUMN_INCHES * width, COLUMN_INCHES * len(rows) + head), dpi=dpi)
    strips = figure.subplots(len(rows), squeeze=False)[:, 0]  # one axis a row: axes are slow to make
    figure.subplots_adjust(
        left=1.25 / width, right=1 - 0.65 / width, bottom=0.01, top=1 - head / (len(rows) + head), hspace=GAP
    )
    for strip, row in zip(strips, rows, strict=True):
        for column, image in enumerate(row.images[shown]):
            drawn = draw(strip, image, row.top, COLUMN_INCHES * dpi, left=column * (1 + GAP))
        strip.set(xlim=(0, strip_width(len(shown))), ylim=(0, 1))
        strip.set_ylabel(row.label, rotation=0, ha="right", va="center", fontsize=8)
        if row.top is not None:
            add_scale(strip, drawn, across=strip_width(len(shown)))
    for column, step in enumerate(shown):
        at = column * (1 + GAP) + 0.5, 1.03
        strips[0].text(*at, f"frame {step * tubelet_size}", fontsize=7, ha="center", va="bottom")
    write_title(figure, title, y=1 - 0.06 / (len(rows) + head))
    return pixels_of(figure)


def strip_width(count: int) -> float:
    """Return the width of a row of pictures of width 1."""
    return count + GAP * (count - 1)


def draw(axis: Any, image: NDArray[Any], top: float | None, dots: float = math.inf, *, left: float = 0.0) -> Any:
    """Draw a picture (H, W, C), or a map (h, w) whose colour scale ends at `top`, and return its artist.

    It is framed, 1 wide and high. An image with more pixels than `dots` is smoothed, or lines would be lost.
    """
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.add_patch(Rectangle((left, 0), 1, 1, fill=False, lw=0.8, zorder=3, clip_on=False))
    scale = {} if top is None else {"cmap": MAP_COLOURS, "vmin": 0, "vmax": top}
    smoothing = "nearest" if image.shape[1] <= dots else "hanning"
    return axis.imshow(image, interpolation=smoothing, extent=(left, left + 1, 0, 1), **scale)


def add_scale(axis: Any, drawn: Any, *, across: float = 1.0) -> None:
    """Draw the colour scale beside a map, or beside maps that are so many times as wide as high."""
    beside = axis.inset_axes((1 + 0.05 / across, 0.03, 0.09 / across, 0.94))
    top = drawn.norm.vmax
    axis.figure.colorbar(drawn, cax=beside, extend="max", ticks=[0, top / 2, top], format="%g")
    beside.tick_params(labelsize=7)


def _repaint(grid: TokenGrid, clip: Tensor, reconstruction: Reconstruction, row: int) -> Tensor:
    """Replace the hidden tokens of one clip by the predicted ones, in uint8."""
    ids = reconstruction.ids_hidden[row].cpu()
    if not len(ids):
        return clip
    tokens = grid.cut(clip)[0]  # (L, P)
    true = tokens[ids].unflatten(-1, (CHANNELS, -1)).float()  # (M, C, P / C)
    std, mean = torch.std_mean(true, dim=-1, keepdim=True)
    pred = reconstruction.pred[row].detach().float().cpu().unflatten(-1, (-1, CHANNELS)).transpose(-1, -2)
    painted = (pred * (std + 1e-6 * 255) + mean).round().clamp(0, 255).to(torch.uint8)
    tokens[ids] = painted.flatten(-2)
    return grid.join(tokens[None])


def _grey_out(grid: TokenGrid, clip: Tensor, mask: Tensor) -> Tensor:
    tokens = grid.cut(clip)
    return grid.join(tokens.masked_fill(mask[None, :, None], HIDDEN_GREY))
