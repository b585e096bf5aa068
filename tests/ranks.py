"""One process of a training by several, as torchrun starts it: ranks.py CLIPS OUT NUM_ENVS [DTYPE OPTIM]...."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.rollouts import TokenRollouts
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.agents.training.resume import resume
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.runs.checkpoint import has_checkpoint
from tats_gym.train.distributed import Ranks, process_group
from tats_gym.train.optimizer import ScheduledAdamW
from tests.runs import tiny_config

DIES = "DIES_AT"
"""Names the optimiser step before which the second process is killed, once."""


def key_noise(env: TokenSelectionVectorEnv, patch: Callable[[type, str, Any], None]) -> None:
    """Have every draw follow from the clip's place among those of all processes."""
    rank, ranks = env.config.shard
    sample_anyhow = PlackettLuce.sample

    def noise(length: int) -> torch.Tensor:
        places = (env.clip_buffer.positions * ranks + rank).tolist()
        generators = [torch.Generator().manual_seed(place) for place in places]
        rows = [torch.empty(length).exponential_(generator=generator) for generator in generators]
        return torch.stack(rows)

    def sample(distribution: PlackettLuce) -> torch.Tensor:
        logits = distribution.logits.detach()
        if len(logits) != env.num_envs:  # held-out clips
            return sample_anyhow(distribution)
        return (logits - noise(logits.shape[1]).log()).topk(distribution.num_visible).indices

    def random(*_: object) -> torch.Tensor:
        return noise(env.grid.num_tokens).topk(env.grid.num_visible).indices

    patch(PlackettLuce, "sample", sample)
    patch(TokenRollouts, "rule_ids", random)
    patch(TokenSelectionVectorEnv, "_random_ids", random)


def remember_gradients(optimizer: torch.optim.Optimizer, into: list[torch.Tensor]) -> None:
    """Keep the gradients of each of an optimiser's steps."""

    def keep(*_: object) -> None:
        gradients = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
        into.append(torch.cat(gradients).clone())

    optimizer.register_step_pre_hook(keep)


def die_at(step: int, rank: int) -> None:
    """Have the process of this rank killed before an optimiser step, the first time it comes there."""
    step_of = ScheduledAdamW.step

    def step_or_die(self: ScheduledAdamW, loss: torch.Tensor) -> None:
        if self.steps == step and rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        step_of(self, loss)

    ScheduledAdamW.step = step_or_die


def train(
    clips: str, folder: Path, num_envs: int, ranks: Ranks, patch: Callable[[type, str, Any], None], **optim: Any
) -> None:
    """Train, or go on, and leave gradients and weights of the first process behind."""
    config = replace(tiny_config(clips, folder), num_envs=num_envs)
    config = replace(config, mae_optim=replace(config.mae_optim, **optim))
    config = replace(config, clips=replace(config.clips, subset=0.89))  # 8 of 9, so that two ranks have 4 each
    run = resume(folder, config, ranks) if has_checkpoint(folder) else Pretraining(config, folder, ranks)
    key_noise(run.vector_env, patch)
    gradients: dict[str, list[torch.Tensor]] = {"mae": [], "sampler": []}
    remember_gradients(run.optimizer.adamw, gradients["mae"])
    remember_gradients(run.agent.policy.optimizer, gradients["sampler"])
    result = run.run()
    run.close()
    assert result.finished
    if ranks.first:
        torch.save({name: torch.stack(each) for name, each in gradients.items()}, folder / "gradients.pt")


def main() -> None:
    """Train once in each precision, in a folder of its own, with these settings of the MAE's optimiser."""
    clips, out, num_envs, *trainings = sys.argv[1:]
    torch.set_num_threads(1)
    with process_group("cpu") as ranks:
        if DIES in os.environ:
            die_at(int(os.environ[DIES]), ranks.rank)
        for dtype, optim in zip(trainings[::2], trainings[1::2], strict=True):
            if ranks.first and has_checkpoint(Path(out) / dtype):  # as the processes before left it
                shutil.copytree(Path(out) / dtype, Path(out) / "left")
            torch.set_default_dtype(getattr(torch, dtype))
            train(clips, Path(out) / dtype, int(num_envs), ranks, setattr, **json.loads(optim))


if __name__ == "__main__":
    main()
