"""Masks a CPU second of the environment without video, beside its MAE's forward and the plain environment."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tats_gym.benchmarks.record import benchmark_origin, over_rounds
from tats_gym.envs import FrozenTokenSelectionVectorEnv, TokenSelectionVectorEnv
from tats_gym.files.atomic import make_folder
from tats_gym.masks import random_ids
from tats_gym.registration import FROZEN_SETTINGS
from tats_gym.results import aligned, results_folder, write_results
from tats_gym.settings.intervals import check_intervals

logger = logging.getLogger(__name__)

FORWARD, TENSORS, STEP, GAIN = "the MAE's bare forward", "observe and step_tensors", "step", "step, reward gain"
PLAIN = "step of the plain environment"

Step = Callable[[], Any]
"""Steps once, B masks."""


@dataclass(frozen=True, kw_only=True)
class FrozenConfig:
    """Sizes, rounds and folder of the measurement, which takes one thread."""

    num_envs: int = 256
    """B: masks in a step."""
    rounds: int = 5
    """Rounds, each of which measures every way to step in turn."""
    seconds: float = 2.0
    """CPU seconds of each measurement, at least; one step at least."""
    root: Path | None = None
    """Folder of the demo's clips; None takes the cache's."""
    results: Path = field(default_factory=results_folder)
    """Folder of the record."""

    def __post_init__(self) -> None:
        check_intervals(self, num_envs="[1, inf)", rounds="[1, inf)", seconds="(0, inf)")


def run(config: FrozenConfig) -> None:
    """Masks a CPU second of the environment without video, beside its MAE's forward and the plain environment."""
    record: dict[str, Any] = {
        "about": "masks a CPU second (user and system) of a process with one thread; ratios within a round"
    }
    record |= benchmark_origin("frozen", config)
    make_folder(config.results)  # before minutes of work
    rates: dict[str, list[float]] = {}
    with _one_thread(), ways_to_step(config) as ways:
        for number in range(config.rounds):
            for name, step in ways.items():
                rates.setdefault(name, []).append(config.num_envs * steps_a_cpu_second(step, config.seconds))
            logger.info("round %d of %d", number + 1, config.rounds)
    record["ways"] = compare(rates)
    print("\n".join(report(record["ways"])))
    print(f"\n{write_results(config.results / 'frozen', record)}")


@contextmanager
def ways_to_step(config: FrozenConfig) -> Iterator[dict[str, Step]]:
    """Make the environments, and yield the ways to step them by name, each of which has stepped once."""
    settings: dict[str, Any] = {**FROZEN_SETTINGS, "device": "cpu", "root": config.root and str(config.root)}
    frozen, gain = (
        FrozenTokenSelectionVectorEnv(config.num_envs, reward=reward, **settings) for reward in ("neg_error", "gain")
    )
    # With decoded videos in memory, as a run on the demo has them.
    plain = TokenSelectionVectorEnv(config.num_envs, cache_mib=1024, **settings)
    actions = frozen.action_space.sample()
    ids = torch.from_numpy(actions)

    def step_tensors() -> None:
        frozen.observe()
        frozen.step_tensors(ids)

    envs: tuple[Any, ...] = (frozen, gain, plain)
    for env in envs:
        env.reset(seed=0)
    plain.clip_buffer.stream.take(len(plain.clip_buffer.stream.videos))  # fills the cache
    ways: dict[str, Step] = {
        FORWARD: bare_forward(frozen),
        TENSORS: step_tensors,
        STEP: lambda: frozen.step(actions),
        GAIN: lambda: gain.step(actions),
        PLAIN: lambda: plain.step(actions),
    }
    try:
        for step in ways.values():
            step()
        yield ways
    finally:
        for env in envs:
            env.close()


def bare_forward(env: FrozenTokenSelectionVectorEnv) -> Step:
    """Return the forward of encoder and decoder on tokens that are gathered already, for B masks."""
    mae, grid = env.mae, env.grid
    ids = random_ids(env.num_envs, grid.num_tokens, grid.num_visible)
    _, hidden = mae.hide(ids)
    tokens = env.observe().gather(1, ids[..., None].expand(-1, -1, mae.embed_dim))  # (B, K, D)

    def forward() -> None:
        with torch.no_grad():
            mae.decode(mae.encoder(tokens), ids, hidden)

    return forward


def steps_a_cpu_second(step: Step, seconds: float) -> float:
    """Return the steps that this process makes in a second of its CPU time, over at least `seconds` of it."""
    start, steps, elapsed = time.process_time(), 0, 0.0
    while elapsed < seconds:
        step()
        steps, elapsed = steps + 1, time.process_time() - start
    return steps / elapsed


def compare(rates: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Return each way's rate, and its ratios to the bare forward's and the plain environment's, over the rounds."""
    return {
        name: {
            "masks_per_cpu_s": over_rounds(values),
            **{
                key: over_rounds([value / other for value, other in zip(values, rates[reference], strict=True)])
                for key, reference in (("to_forward", FORWARD), ("to_plain", PLAIN))
            },
        }
        for name, values in rates.items()
    }


def report(ways: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of a table, a way to step in each."""
    rows = [["B masks by", "masks a CPU s", "to the forward's", "to the plain's"]]
    for name, way in ways.items():
        medians = [way[key]["median"] for key in ("masks_per_cpu_s", "to_forward", "to_plain")]
        rows.append([name, f"{medians[0]:,.0f}", f"{medians[1]:.2f}", f"{medians[2]:.1f}"])
    return aligned(rows)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
