"""Draw what an agent shows of videos and what the MAE makes of it: python scripts/visualize_masks.py RUN.

Rows as in the TATS paper's supplement, figures 1 to 12: frames, reconstruction, its error, sampling probability,
visible tokens; then error and visible tokens of each agent that it is compared with. All errors are of RUN's MAE; each
agent looks at the clip through its own. Colours mean the same in all pictures of one call.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import matplotlib.image
import numpy as np
import torch
import tyro
from torch import Tensor

# A checkout runs without being installed, and agents are found where the command is given.
sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path.cwd())]

from tats_gym.agents import check_asked_for  # noqa: E402
from tats_gym.agents.experiments.run_report import names_apart  # noqa: E402
from tats_gym.agents.training.command_line import exit_code  # noqa: E402
from tats_gym.agents.training.load_run import SavedRun  # noqa: E402
from tats_gym.clips import ClipConfig, ClipStream, VideoReadError  # noqa: E402
from tats_gym.clips.datasets.folder_and_list import LIST_FILES, write_list  # noqa: E402
from tats_gym.clips.datasets.layout import Video, VideoList  # noqa: E402
from tats_gym.figures.animation import mask_animation, write_gif, write_mp4  # noqa: E402
from tats_gym.figures.masks import Masked, Scales, mask_figure, sharp_dpi  # noqa: E402
from tats_gym.files.atomic import make_folder  # noqa: E402
from tats_gym.tokens import TokenGrid  # noqa: E402

Form = Literal["png", "gif", "mp4"]


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """What to draw of what."""

    run: tyro.conf.Positional[Path]
    """A run's folder, or one of its checkpoints."""
    compare: tuple[Path, ...] = ()
    """Further runs, whose agents mask the same clips."""
    videos: tuple[Path, ...] = ()
    """Video files of any kind; none takes held-out clips of the data that RUN was trained on."""
    clips: int = 4
    """Held-out clips, evenly spaced, where no videos are named."""
    mask_ratio: tuple[float, ...] = ()
    """Shares of the tokens that are hidden, a picture for each; none takes RUN's K."""
    stride: int | None = None
    """Frames of the video from one frame of the clip to the next; None takes RUN's."""
    forms: tuple[Form, ...] = ("png", "gif", "mp4")
    """png: all frames beside each other. gif, mp4: the clip plays."""
    frames_per_s: float = 6.0
    """Of gif and mp4."""
    seed: int = 0
    """Of the agents' draws."""
    agent: tuple[str, ...] = ()
    """Agents of yours, `module:function`, that the runs were made by: their modules are imported."""
    device: str = "auto"
    """auto takes CUDA where it is present."""
    out: Path = Path("pictures")
    """Folder of the pictures; those of the same names are replaced."""

    def __post_init__(self) -> None:
        for name, least in (("clips", 1), ("stride", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name} must be at least {least}, got {value}")
        if not 0 < self.frames_per_s <= 100:
            raise ValueError(f"--frames-per-s must lie in (0, 100], got {self.frames_per_s}")


def main(arguments: list[str]) -> int:
    """Parse, mask, draw, and say what lies where."""
    return exit_code(lambda: _draw(arguments), "give the same command again")


def _draw(arguments: list[str]) -> None:
    config = tyro.cli(PictureConfig, args=arguments, prog="visualize_masks.py", description=__doc__)
    runs = [SavedRun.read(path) for path in (config.run, *config.compare)]
    for run in runs:
        check_asked_for(run.config.agent, config.agent)
    with clips_to_draw(config, runs[0]) as clips:
        draw_all(config, runs, clips)


@contextmanager
def clips_to_draw(config: PictureConfig, run: SavedRun) -> Iterator[ClipConfig]:
    """Give the settings of a stream that holds the clips to be drawn.

    Raises:
        FileNotFoundError: A video is not there.
    """
    clips = run.config.clips.held_out
    stride = clips.stride if config.stride is None else config.stride
    clips = replace(clips, num_workers=0, cache_mib=0, cache_windows=0, stride=stride)
    if not config.videos:
        yield clips
        return
    if gone := [str(path) for path in config.videos if not path.is_file()]:
        raise FileNotFoundError(f"there is no video at {', '.join(gone)}")
    with tempfile.TemporaryDirectory() as folder:
        videos = VideoList(tuple(Video(path, 0) for path in config.videos), ("0",), 0)
        for file in LIST_FILES.values():
            write_list(videos, Path(folder) / file)
        yield replace(clips, data="list", root=folder, index="none", fold=1, subset=None)


def draw_all(config: PictureConfig, runs: list[SavedRun], clips: ClipConfig) -> None:
    """Draw every clip with every mask ratio."""
    base = runs[0].config.grid
    grids = [replace(base, mask_ratio=ratio, visible=None) for ratio in config.mask_ratio] or [base]
    shown = [grid.num_visible for grid in grids]
    if len(set(shown)) < len(shown):
        raise ValueError(f"each --mask-ratio must show another number of tokens, got {shown} of {base.num_tokens}")
    names, pixels = read_clips(config, clips, base)
    seen = [masked(config, runs, clips, pixels, grid) for grid in grids]
    scales = Scales.of([each for batch in seen for each in batch])
    make_folder(config.out)
    for grid, batch in zip(grids, seen, strict=True):
        for clip, name in enumerate(names):
            title = f"{grid.num_visible} of {grid.num_tokens} tokens visible: {name}"
            picture = Picture(grid, pixels, batch, clip, scales, title)
            for path in picture.write(config.out / f"{name}-visible{grid.num_visible}", config):
                print(path)
            errors = [f"{each.errors(clip).nanmean().item():.4f} under {each.name}'s mask" for each in batch]
            print(f"  {title}; mean error {', '.join(errors)}")


def read_clips(config: PictureConfig, clips: ClipConfig, grid: TokenGrid) -> tuple[list[str], Tensor]:
    """Return a name for each clip and the clips (B, C, T, H, W); a video that cannot be read is named and left out.

    Raises:
        VideoReadError: None can be read.
    """
    stream = ClipStream(clips, frames=grid.frames, size=grid.size, seed=0)
    count = len(config.videos) or min(config.clips, len(stream.videos))
    names, found = [], []
    for number, id_ in enumerate(np.linspace(0, len(stream.videos) - 1, count).round().astype(int).tolist()):
        try:
            found.append(stream.centre([id_]).pixels)
        except VideoReadError as err:
            print(f"left out: {err}", file=sys.stderr)
        else:
            names.append(f"{number:02d}-{stream.videos.videos[id_].path.stem}")
    if not found:
        raise VideoReadError("none of the videos could be read")
    return names, torch.cat(found)


def masked(
    config: PictureConfig, runs: list[SavedRun], clips: ClipConfig, pixels: Tensor, grid: TokenGrid
) -> list[Masked]:
    """Have every run's agent mask the clips with the grid's K; the first run's MAE reconstructs.

    Raises:
        ValueError: A run divides clips into other tokens than the first.
    """
    for run in runs:
        if replace(run.config.grid, mask_ratio=grid.mask_ratio, visible=grid.visible) != grid:
            raise ValueError(f"{run.path} has tokens of {run.config.grid}, but {runs[0].path} of {grid}")
    agents = [run.agent(clips, num_visible=grid.num_visible, device=config.device) for run in runs]
    names = [agent.name for agent in agents]
    if len(set(names)) < len(names):
        folders = names_apart([run.path.resolve() for run in runs])
        names = [agent.name.replace(agent.config.agent, name) for agent, name in zip(agents, folders, strict=True)]
    found = []
    for agent, name in zip(agents, names, strict=True):
        ids, probabilities = agent.mask(pixels, seed=config.seed)
        found.append(agents[0].reconstruct(pixels, ids, name, probabilities))
    return found


class Picture(NamedTuple):
    """One clip under one mask of each agent."""

    grid: TokenGrid
    pixels: Tensor
    seen: list[Masked]
    clip: int
    scales: Scales
    title: str

    def write(self, stem: Path, config: PictureConfig) -> Iterator[Path]:
        """Write every form that was asked for, and yield its path."""
        what = self.grid, self.pixels, self.seen
        if set(config.forms) != {"png"}:
            pictures = mask_animation(*what, clip=self.clip, scales=self.scales, title=self.title)
        for form in config.forms:
            path = stem.with_name(f"{stem.name}.{form}")
            if form == "png":
                title = f"Time runs from left to right; {self.title}"
                dpi = sharp_dpi(self.grid)
                still = mask_figure(*what, clip=self.clip, scales=self.scales, title=title, dpi=dpi)
                matplotlib.image.imsave(path, still)
            else:
                {"gif": write_gif, "mp4": write_mp4}[form](path, pictures, config.frames_per_s)
            yield path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
