"""Draws the masks of all agents that learn nothing, of one held-out clip of the demo.

python docs/examples/mask_zoo.py --out docs/mask-zoo.png
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import tyro
from matplotlib.figure import Figure
from torch import Tensor

import tats_gym  # noqa: F401 (registers the ids)
from tats_gym.agents import FixedMasks, find_agent
from tats_gym.agents.config import PRESETS
from tats_gym.agents.requirements import resolve_settings
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.masks import mask_from_ids

ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("random", {}),
    ("tube", {}),
    ("frame", {}),
    ("block", {}),
    ("cell", {}),
    ("jepa", {"blocks": "short"}),
    ("jepa", {"blocks": "long"}),
    ("green3d", {}),
    ("motion", {}),
    ("everest", {}),
    ("expected_error", {}),
    ("constant", {}),
)
"""Agents and their own settings."""


@dataclass(frozen=True)
class Settings:
    """The clip and the picture."""

    out: Path = Path("mask-zoo.png")
    clip: int = 3
    """Number of the clip among the held-out ones."""
    visible: int = 64
    """K: a multiple of 64, so that whole tubelets can be shown, of 512 tokens."""
    seed: int = 0
    """Of the first agent; the next ones have the next numbers."""
    device: str = "cpu"


def rows(settings: Settings) -> Iterator[tuple[str, Tensor]]:
    """Yield a label and a clip (C, T, H, W): as it is, then each agent's visible tokens."""
    given: dict[str, Any] = {"visible": settings.visible, "device": settings.device}
    vector_env = gymnasium.make_vec("TatsMask-demo-v0", num_envs=1, split="validation", mae="demo", **given).unwrapped
    vector_env.reset(seed=settings.seed, options={"clips": [settings.clip]})
    pixels, grid = vector_env.clip_buffer.pixels.cpu(), vector_env.grid
    yield "the clip", pixels[0]
    for seed, (name, own) in enumerate(ROWS, settings.seed):
        build = find_agent(name)
        config = replace(PRESETS["demo"], agent=name, agent_settings=own, num_envs=1, seed=seed)
        agent = build(TokenSelectionVecEnv(vector_env), resolve_settings(config, build))
        assert isinstance(agent, FixedMasks)
        hidden = mask_from_ids(agent.rule_ids(vector_env).cpu(), grid.num_tokens)
        yield "\n".join([name, *own.values()]), grid.join(grid.cut(pixels).masked_fill(hidden[..., None], 128))[0]
    vector_env.close()


def main(settings: Settings) -> None:
    """Draw a row for each agent, time from left to right."""
    drawn = list(rows(settings))
    step, times = 2, drawn[0][1].shape[1] // 2
    figure = Figure(figsize=(0.66 * times + 1, 0.66 * len(drawn)), dpi=100)
    axes = figure.subplots(len(drawn), times, squeeze=False)
    figure.subplots_adjust(left=0.18, right=0.995, bottom=0.005, top=0.995, wspace=0.05, hspace=0.05)
    for across, (label, clip) in zip(axes, drawn, strict=True):
        for axis, frame in zip(across, clip[:, ::step].permute(1, 2, 3, 0).numpy(), strict=True):
            axis.imshow(frame)
            axis.set(xticks=[], yticks=[])
        across[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    figure.savefig(settings.out)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
