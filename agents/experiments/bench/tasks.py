"""The tasks of the benchmark: all that is equal for every method. A change of a task is a new version of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tats_gym.agents.config import PretrainConfig, preset_for
from tats_gym.agents.experiments.comparison.compare import defaults_for
from tats_gym.agents.experiments.comparison.measures import ProbePlan
from tats_gym.agents.experiments.trials.variations import SHORT_RUN, SHORT_RUN_FORWARDS, with_forwards
from tats_gym.registration import DEFAULT_ENV

SEEDS = (0, 1, 2, 3, 4)
"""The seeds of every entry of the leaderboard, so that none are picked."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Data, tokens, MAE, recipe, budget and measures that all methods share."""

    about: str
    """The data and the share of the tokens that is visible."""
    version: int = 1
    """Part of every result. Results of another version are not shown beside those of this one."""
    base: PretrainConfig
    """Data, grid with K, MAE, recipe and held-out clips; agent and seed are set for each run."""
    forwards: int = SHORT_RUN_FORWARDS
    """Training forwards of the MAE in a run, clips times masks. With the default, twenty agents with five seeds take
    a night on two CPU cores, a task each."""
    reference: str | None = None
    """The MAE that measures the masks of all methods; None takes, for each seed, that of the control's run."""
    probe: ProbePlan | None = None
    """The probes of the encoders; None skips them."""
    coordinates: bool = False
    """Whether the coordinates in games are decoded from the encoders."""
    ranked_by: str
    """The measure that orders the methods on the page."""
    entered: bool = True
    """Whether its results belong on the leaderboard."""

    def settings(self, forwards: int | None = None, root: str | None = None) -> PretrainConfig:
        """Return the settings that all runs share; held-out clips are measured at the start and at the end.

        Args:
            forwards: Another number of training forwards; None takes the task's.
            root: A folder of other clips; None takes the task's.

        Raises:
            ValueError: If `with_forwards` refuses the number.
        """
        total = forwards or self.forwards
        clips = replace(self.base.clips, root=root or self.base.clips.root)
        return replace(with_forwards(replace(self.base, clips=clips), total), eval_interval=total)


def _showing(config: PretrainConfig, share: float) -> PretrainConfig:
    """Return short runs from scratch in which this share of the tokens is visible."""
    grid = replace(config.grid, mask_ratio=1 - share, visible=None)
    return replace(config, grid=grid, eval_clips=96, eval_masks=1, **SHORT_RUN)


def _demo(share: float) -> Task:
    base, probe = defaults_for(DEFAULT_ENV)
    # Of the 1200 clips its 20 epochs of 256 are 94 steps; these are 188, at half the cost.
    attentive = replace(probe.config.attentive, batch_size=64, epochs=10)
    return Task(
        about=f"the demo's clips, second version, {100 * share:g} % of the tokens visible",
        base=_showing(base, share),
        reference="demo",
        probe=replace(probe, attentive=True, config=replace(probe.config, attentive=attentive)),
        ranked_by="reference_gain",
    )


def _games(share: float) -> Task:
    return Task(
        about=f"twelve Atari games, {100 * share:g} % of the tokens visible",
        base=_showing(preset_for("TatsMask-atari-v0"), share),
        coordinates=True,  # and no probes: colours tell the classes, which are the games
        ranked_by="r2_attentive",
    )


TASKS: Mapping[str, Task] = {
    "demo-05": _demo(0.05),
    "demo-10": _demo(0.10),
    "games-05": _games(0.05),
    "games-10": _games(0.10),
    "clips": Task(
        about="the videos of any folder (--root), 10 % of the tokens visible",
        base=_showing(preset_for("TatsMask-folder-v0"), 0.10),
        ranked_by="reference_gain",
        entered=False,
    ),
}
"""Name of a task to its record."""

if TYPE_CHECKING:
    TaskName = str
else:
    TaskName = Literal[tuple(TASKS)]
    """The type of settings that name a task: the command line offers these choices."""
