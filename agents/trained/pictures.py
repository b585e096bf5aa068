"""Pictures of any video under the masks of trained agents, with the MAE's reconstruction."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from torch import Tensor

from tats_gym.agents import check_asked_for
from tats_gym.agents.trained.load_run import SavedRun
from tats_gym.clips import ClipConfig, ClipStream, VideoReadError
from tats_gym.clips.datasets.folder_and_list import LIST_FILES, write_list
from tats_gym.clips.datasets.layout import Video, VideoList
from tats_gym.clips.readable import evenly_spaced, readable_clips
from tats_gym.figures.files import Form, Picture
from tats_gym.figures.masks import ClipMasks, Scales
from tats_gym.files.atomic import make_folder
from tats_gym.runs.folder import names_apart
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.targets.table import own_target
from tats_gym.tokens import TokenGrid
from tats_gym.train.precision import AUTO


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """The runs, the clips that their agents mask, and the pictures."""

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
    """Frames a second in gif and mp4."""
    seed: int = 0
    """Seed of the agents' draws."""
    agent: tuple[str, ...] = ()
    """Agents of yours, `module:function`, that the runs were made by: their modules are imported."""
    own_mae: tuple[str, ...] = ()
    """MAEs of yours, `module:function`, that the runs were trained with: their modules are imported."""
    target: tuple[str, ...] = ()
    """Targets of yours, likewise."""
    device: str = AUTO
    """auto takes CUDA where it is available."""
    out: Path = Path("pictures")
    """Folder of the pictures; those of the same names are replaced."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, clips="[1, inf)", stride="[1, inf)", seed="[0, inf)", frames_per_s="(0, 100]")


def draw(config: PictureConfig) -> Iterator[str]:
    """Read the runs, mask clips with their agents and draw; yield each picture's path, and the errors in it.

    Raises:
        CheckpointError: If there is no run, or it is broken.
        ValueError: If a run's agent, MAE or target lies in a module that the user has not named.
    """
    runs = [SavedRun.read(path) for path in (config.run, *config.compare)]
    for run in runs:
        check_asked_for(run.config.agent, config.agent)
        check_asked_for(run.config.own_mae or "", config.own_mae, "own-mae")
        check_asked_for(own_target(run.config.target), config.target, "target")
    with clips_to_draw(config, runs[0]) as clips:
        yield from draw_all(config, runs, clips)


@contextmanager
def clips_to_draw(config: PictureConfig, run: SavedRun) -> Iterator[ClipConfig]:
    """Yield the settings of a stream that holds the clips to be drawn.

    Raises:
        FileNotFoundError: If a video is not there.
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


def draw_all(config: PictureConfig, runs: list[SavedRun], clips: ClipConfig) -> Iterator[str]:
    """Draw every clip with every mask ratio; yield as `draw` does."""
    base = runs[0].config.grid
    grids = [replace(base, mask_ratio=ratio, visible=None) for ratio in config.mask_ratio] or [base]
    visible = [grid.num_visible for grid in grids]
    if len(set(visible)) < len(visible):
        raise ValueError(f"each --mask-ratio must show another number of tokens, got {visible} of {base.num_tokens}")
    names, pixels = read_clips(config, clips, base)
    seen = [mask_clips(config, runs, clips, pixels, grid) for grid in grids]
    scales = Scales.of([each for batch in seen for each in batch])
    make_folder(config.out)
    for grid, batch in zip(grids, seen, strict=True):
        for clip, name in enumerate(names):
            title = f"{grid.num_visible} of {grid.num_tokens} tokens visible: {name}"
            picture = Picture(grid, pixels, batch, clip, scales, title)
            stem = config.out / f"{name}-visible{grid.num_visible}"
            yield from map(str, picture.write(stem, config.forms, config.frames_per_s))
            errors = [f"{each.errors(clip).nanmean().item():.4f} under {each.name}'s mask" for each in batch]
            yield f"  {title}; mean error {', '.join(errors)}"


def read_clips(config: PictureConfig, clips: ClipConfig, grid: TokenGrid) -> tuple[list[str], Tensor]:
    """Read the clips: names, and pixels (B, C, T, H, W). A video that cannot be read is logged and left out.

    Raises:
        VideoReadError: If none can be read.
    """
    stream = ClipStream(clips, frames=grid.frames, size=grid.size, seed=0)
    count = len(config.videos) or min(config.clips, len(stream.videos))
    ids = evenly_spaced(range(len(stream.videos)), count)
    pixels = readable_clips(stream, ids, count)
    if not pixels:
        raise VideoReadError("none of the videos could be read")
    names = [f"{ids.index(id_):02d}-{stream.videos.videos[id_].path.stem}" for id_ in pixels]
    return names, torch.cat(list(pixels.values()))


def mask_clips(
    config: PictureConfig, runs: list[SavedRun], clips: ClipConfig, pixels: Tensor, grid: TokenGrid
) -> list[ClipMasks]:
    """Have every run's agent mask the clips with the grid's K; the first run's MAE reconstructs.

    Raises:
        ValueError: If a run divides clips into other tokens than the first.
    """
    for run in runs:
        if replace(run.config.grid, mask_ratio=grid.mask_ratio, visible=grid.visible) != grid:
            raise ValueError(f"{run.path} has tokens of {run.config.grid}, but {runs[0].path} of {grid}")
    agents = [run.agent(clips, num_visible=grid.num_visible, device=config.device) for run in runs]
    names = [agent.name for agent in agents]
    if len(set(names)) < len(names):
        folders = names_apart([run.path.resolve() for run in runs])
        names = [agent.name.replace(agent.config.agent, name) for agent, name in zip(agents, folders, strict=True)]
    masked = []
    for agent, name in zip(agents, names, strict=True):
        ids_keep, probabilities = agent.mask(pixels, seed=config.seed)
        masked.append(agents[0].reconstruct(pixels, ids_keep, name, probabilities))
    return masked
