"""Our real joint step: environment, agent and hook, on clips that are ready in memory."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import torch
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.requirements import resolve_settings
from tats_gym.agents.training.joint_training import JointTraining
from tats_gym.clips import ClipBatch, ClipConfig
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.model.optim import mae_optimizer
from tats_gym.targets.table import build_target


class ReadyClips:
    """A stand-in for a stream that returns the same clips each time, so that no decoding is measured."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels, self.position, self.seed, self.wait_s = pixels, 0, 0, 0.0
        self.broken: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.pixels)

    def seek(self, position: int, seed: int | None = None) -> None:
        """Go to a position; the clips are the same at each."""
        self.position = position

    def take(self, count: int) -> ClipBatch:
        """Return the first `count` clips."""
        positions = torch.arange(self.position, self.position + count)
        self.position += count
        return ClipBatch(self.pixels[:count], torch.arange(count), torch.full((count,), -1), positions)

    def close(self) -> None:
        """Release no resources: the clips stay in memory."""


class JointStep:
    """One rollout and update of agent and MAE for each call, built as in `Pretraining`.

    Args:
        config: The run's settings; its clips are not read.
        pixels: uint8 clips (B, C, T, H, W) on the host.
        root: A folder of videos for the environment to find; none is decoded.
    """

    def __init__(self, config: PretrainConfig, pixels: Tensor, root: str) -> None:
        build_agent = find_agent(config.agent)
        config = resolve_settings(replace(config, tats=replace(config.tats, warmup_epochs=0)), build_agent)
        clips = asdict(ClipConfig(data="demo", root=root))
        vector_env = TokenSelectionVectorEnv(config.num_envs, **config.env_settings | clips)
        vector_env.clip_buffer.stream.close()
        vector_env.clip_buffer.stream = ReadyClips(pixels)  # type: ignore[assignment]
        target = build_target(config.target, config.grid, config.mae)
        mae = build_mae(MAESource(config.mae), config.grid, seed=config.seed, target=target)
        mae.encoder.recompute = mae.decoder.recompute = config.recompute
        vector_env.attach(mae)
        env = TokenSelectionVecEnv(vector_env)
        self.vector_env = vector_env
        self.optimizer = mae_optimizer(mae, config.mae_optim, num_envs=config.num_envs, steps_per_epoch=1)
        self.agent = build_agent(env, config)
        self.hook = JointTraining(self.optimizer)
        rollout = self.agent.n_steps if isinstance(self.agent, OnPolicyAlgorithm) else 1
        self.clips_per_call = config.num_envs * rollout
        self.device = vector_env.device

    def __call__(self) -> float:
        """Do one rollout and one update; returns the MAE's last loss."""
        self.agent.learn(self.clips_per_call, callback=self.hook, reset_num_timesteps=False)
        return self.hook.last_loss

    @contextmanager
    def timed(self) -> Iterator[dict[str, float]]:
        """Sum up the seconds of each part; it waits for a GPU after each, so the parts sum to more than the step."""
        seconds: dict[str, float] = {}
        adamw, policy = self.optimizer.adamw, self.agent.policy
        parts: list[tuple[Any, str, str]] = [
            (self.vector_env, "embed", "observe"),
            (self.agent, "draw_masks", "choose"),
            (self.vector_env, "step_tensors", "MAE forward"),
            (self.optimizer, "step", "MAE backward and optimiser"),
            (adamw, "step", "of which MAE optimiser"),
            (self.agent, "train", "sampler update"),
        ]
        if optimizer := getattr(policy, "optimizer", None):
            parts.append((optimizer, "step", "of which sampler optimiser"))
        for owner, method, name in parts:
            setattr(owner, method, self._timed(getattr(owner, method), name, seconds))
        try:
            yield seconds
        finally:
            for owner, method, _ in parts:
                delattr(owner, method)

    def _timed(self, function: Callable[..., Any], name: str, seconds: dict[str, float]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = function(*args, **kwargs)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
            return result

        return call
