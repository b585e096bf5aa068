"""Reference curves of agents in the environment without video: the held-out gain over a budget of masks.

    python docs/examples/frozen_curves.py

Each agent is trained by its `learn`, as any algorithm of Stable-Baselines3, and measured at intervals on the demo's
held-out clips: by how much its masks lower the error compared with uniform ones. A new agent is a new line of `ARMS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium.vector import VectorEnv
from matplotlib.figure import Figure
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

import tats_gym  # noqa: F401 (registers the ids)
from tats_gym.agents import AGENTS, find_agent
from tats_gym.agents.config import PretrainConfig, preset_for
from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.tats import TatsConfig
from tats_gym.clips import list_videos
from tats_gym.envs import TokenSelectionVecEnv
from tats_gym.figures.canvas import pixels_of
from tats_gym.files.atomic import make_folder
from tats_gym.model.optim import MAEOptimConfig
from tats_gym.provenance import origin
from tats_gym.results import aligned, command_of, results_folder, write_results
from tats_gym.statistics import estimate

ENV_ID = "TatsMask-frozen-v0"
ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "group, credit of masks": ("group", {"credit": "position", "ent_coef": 0.05}),
    "tats, credit marginal": ("tats", {"credit": "marginal", "ent_coef": 2.0}),
    "tats, credit token": ("tats", {"credit": "token", "ent_coef": 1.0}),
    "ppo of SB3": ("ppo", {"learning_rate": 5e-3, "n_epochs": 2}),
    "a2c of SB3": ("a2c", {"learning_rate": 2e-3}),
    "adamae": ("adamae", {}),
    "random": ("random", {}),
}
"""Name of a curve to an agent of the table and its settings beside `SETTINGS`, see `TatsConfig`."""
SETTINGS = {"learning_rate": 2e-3, "normalize_advantage": True, "policy_coef": 1.0, "vf_coef": 1.0, "n_steps": 1}


@dataclass(frozen=True)
class Settings:
    """Budget, seeds and files."""

    masks: int = 25_600
    """Masks of each run."""
    num_envs: int = 128
    """B: masks in a step."""
    measurements: int = 10
    """Measurements in a run, after equal numbers of masks."""
    seeds: int = 3
    """Runs of each agent, with seeds from 0."""
    root: str | None = None
    """Folder of the demo's clips; None takes the cache's."""
    results: Path = field(default_factory=results_folder)
    """Folder of the record and the picture."""


class HeldOutGain(BaseCallback):
    """Measures the gain of the agent's masks over uniform ones on all held-out clips, eight masks of each."""

    def __init__(self, settings: Settings, held_out: VectorEnv) -> None:
        super().__init__()
        self.interval = max(settings.num_envs, settings.masks // settings.measurements)
        self.curve: list[tuple[int, float]] = []
        self.held_out, self.clips = held_out, {"clips": list(range(held_out.num_envs))}

    def _on_training_start(self) -> None:
        self.measure()

    def _on_step(self) -> bool:
        if self.num_timesteps - self.curve[-1][0] >= self.interval:
            self.measure()
        return True

    def measure(self) -> None:
        """Add a point to the curve, without a trace in the agent's random draws."""
        gains = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            tokens, _ = self.held_out.reset(seed=0, options=self.clips)
            for _ in range(8):
                masks, _ = self.model.predict(tokens)
                gains.append(self.held_out.step(masks)[1].mean())
                self.held_out.reset(options=self.clips)
        self.curve.append((self.num_timesteps, float(np.mean(gains))))


def held_out_clips(settings: Settings) -> VectorEnv:
    """Make the environment of the held-out clips, one for each."""
    count = len(list_videos("demo", settings.root, "validation").videos)
    env = {"split": "validation", "reward": "gain", "device": "cpu", "root": settings.root}
    return gymnasium.make_vec(ENV_ID, num_envs=count, **env)


def run(arm: str, seed: int, settings: Settings, held_out: VectorEnv) -> list[tuple[int, float]]:
    """Train one agent and return its curve: masks so far, and held-out gain."""
    agent, changes = ARMS[arm]
    needs = AGENTS[agent].needs
    env = {"num_envs": settings.num_envs, "reward": "gain", "device": "cpu", "root": settings.root, **needs}
    if not AGENTS[agent].uses_gain or changes.get("credit") in ("token", "marginal"):
        env["reward"] = "neg_error"  # trains it alike, and costs one forward instead of two
    vec_env = TokenSelectionVecEnv(gymnasium.make_vec(ENV_ID, **env))
    gain = HeldOutGain(settings, held_out)
    find_agent(agent)(vec_env, config_of(agent, changes, seed, settings)).learn(settings.masks, callback=gain)
    vec_env.close()
    return gain.curve


def config_of(agent: str, changes: Mapping[str, Any], seed: int, settings: Settings) -> PretrainConfig:
    """Return the settings from which the table builds an agent; those of clips and MAE are not used here."""
    return replace(
        preset_for("TatsMask-demo-v0"),
        agent=agent,
        seed=seed,
        num_envs=settings.num_envs,
        epoch_masks=settings.masks,
        mae_optim=MAEOptimConfig(epochs=1, warmup_epochs=0, base_lr=2e-3 * 256 / settings.num_envs),  # AdaMAE's rate
        sampler=SamplerConfig(width=64, pos_embed="learned", critic="shared"),
        tats=TatsConfig(warmup_epochs=0, **{**SETTINGS, **changes}),
    )


def picture(curves: Mapping[str, list[list[tuple[int, float]]]]) -> NDArray[np.uint8]:
    """Draw the mean curve of each agent, and the range of its seeds."""
    figure = Figure(figsize=(7, 3.6), dpi=100, layout="constrained")
    axes = figure.subplots()
    for arm, runs in curves.items():
        masks, gains = np.array(runs)[0, :, 0], np.array(runs)[:, :, 1]
        (line,) = axes.plot(masks, gains.mean(0), label=arm, lw=1.5)
        axes.fill_between(masks, gains.min(0), gains.max(0), alpha=0.15, color=line.get_color(), lw=0)
    axes.set(xlabel="masks", ylabel="gain over uniform masks, held out", xlim=(0, None))
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return pixels_of(figure)


def main(settings: Settings) -> None:
    """Train every agent, print its last gain, and write record and picture."""
    record = {"command": command_of("python docs/examples/frozen_curves.py", settings, without=["root", "results"])}
    make_folder(settings.results)  # before minutes of work
    held_out = held_out_clips(settings)
    curves = {arm: [run(arm, seed, settings, held_out) for seed in range(settings.seeds)] for arm in ARMS}
    held_out.close()
    rows = [["agent", f"gain after {settings.masks:,} masks [95 % over seeds]"]]
    rows += [[arm, str(estimate([curve[-1][1] for curve in runs]))] for arm, runs in curves.items()]
    print("\n".join(aligned(rows)))
    record |= {**origin(), "curves": curves}
    print(write_results(settings.results / "frozen_curves", record, picture(curves)))


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
