"""One run: environment, MAE and agent put together, trained, saved, and gone on with."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.save_util import recursive_getattr

from agents import find_agent
from agents.callbacks import Boundary, Evaluation, JointTraining, Progress, StopRequestedError
from agents.config import PretrainConfig, config_from_dict
from agents.held_out import Scores, held_out_for
from envs.sb3 import TokenSelectionVecEnv
from envs.token_selection import TokenSelectionVectorEnv
from tats_gym.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, save_checkpoint
from tats_gym.logs import run_logger
from tats_gym.mae_loading import MAESource, build_mae
from tats_gym.mae_training import mae_optimizer
from tats_gym.optimisation import NonFiniteLossError
from tats_gym.random_state import random_state, restore_random_state
from tats_gym.runs import create_run, drop_metrics_after, read_config, update_config
from tats_gym.stopping import stop_on_signal


@dataclass(frozen=True)
class Result:
    """What a run leaves behind."""

    config: PretrainConfig
    """The settings it was made with."""
    folder: Path
    """The run's folder."""
    scores: Scores
    """The last measurement on held-out clips."""
    picture: Path | None
    """The last picture of masks."""
    finished: bool
    """False where the run was stopped before its end."""


class Pretraining:
    """A run's parts, from its settings.

    Args:
        config: The settings.
        folder: The run's folder; made anew when None.
    """

    def __init__(self, config: PretrainConfig, folder: Path | None = None) -> None:
        self.config = config
        build_agent = find_agent(config.agent)
        settings: dict[str, Any] = {
            **asdict(config.clips),
            **asdict(config.grid),
            "reward": config.reward,
            "action": config.action,
            "device": config.device,
            "precision": config.precision,
        }
        vector_env = gymnasium.make_vec(config.env, num_envs=config.num_envs, **settings)
        self.vector_env = cast(TokenSelectionVectorEnv, vector_env.unwrapped)
        self.mae = build_mae(self._mae_source(resumed=folder is not None), config.grid, seed=config.seed)
        self.vector_env.attach(self.mae)
        self.env = TokenSelectionVecEnv(vector_env)
        steps_per_epoch = config.steps_per_epoch(len(self.vector_env.stream))
        self.epoch_timesteps = steps_per_epoch * config.num_envs
        self.total_timesteps = config.mae_optim.epochs * self.epoch_timesteps
        self.optimizer = mae_optimizer(
            self.mae, config.mae_optim, num_envs=config.num_envs, steps_per_epoch=steps_per_epoch
        )
        self.held_out = held_out_for(config, self.mae, num_masks=config.eval_masks)
        self.agent: BaseAlgorithm = build_agent(self.env, config)
        self.env.seed(config.seed)  # an agent that was built without a seed sees the same clips
        self._resumed = False
        name = f"{config.env.removeprefix('TatsMask-').removesuffix('-v0')}-{config.agent.replace(':', '.')}"
        self.folder = folder or create_run(Path(config.out), f"{name}-seed{config.seed}", config.as_dict())
        self.vector_env.stream.keep_journal(self.folder / "replaced_clips.jsonl")

    def _mae_source(self, *, resumed: bool) -> MAESource:
        config = self.config
        if config.init_mae is None or resumed:  # a resumed run brings its own weights
            return MAESource(config.mae)
        source = MAESource.find(config.init_mae)
        if source.config != config.mae:
            raise ValueError(f"init_mae {config.init_mae} holds {source.config}, but mae is {config.mae}")
        return source

    # --- Saving and going on -----------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return all that the run needs to go on between two rollouts, as tensors and plain values."""
        return {
            "config": self.config.as_dict(),
            "step": self.agent.num_timesteps,
            "mae": self.mae.state_dict(),
            "mae_config": asdict(self.config.mae),
            "mae_optim": self.optimizer.state_dict(),
            "agent": self.agent.get_parameters(),
            "agent_variables": {name: recursive_getattr(self.agent, name).detach() for name in self._variables()},
            "agent_updates": getattr(self.agent, "_n_updates", 0),
            # The clips in hand were taken but not yet masked: the resumed run takes them again.
            "clips_position": self.vector_env.stream.position - self.config.num_envs,
            "random": random_state(self.vector_env.device),
            "random_env": json.dumps(self.vector_env.np_random.bit_generator.state),
        }

    def _variables(self) -> list[str]:
        """Name the agent's single tensors, such as SAC's entropy coefficient, which SB3 keeps apart."""
        return self.agent._get_torch_save_params()[1]

    def save(self) -> Path:
        """Write a checkpoint into the run's folder.

        Raises:
            NonFiniteLossError: If a weight of the MAE or the agent is NaN or infinite; nothing is written.
        """
        for name, module in (("MAE", self.mae), ("agent", self.agent.policy)):
            sums = [parameter.detach().sum() for parameter in module.parameters()]
            if sums and not torch.stack(sums).isfinite().all():
                raise NonFiniteLossError(
                    f"weights of the {name} are not finite at environment step {self.agent.num_timesteps}; "
                    "they were not saved. Resume from the last checkpoint with a lower learning rate, or in fp32"
                )
        return save_checkpoint(
            self.folder / "checkpoints", self.agent.num_timesteps, self.state(), keep=self.config.keep_checkpoints
        )

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        try:
            self.mae.load_state_dict(state["mae"])
            self.optimizer.load_state_dict(state["mae_optim"])
            self.agent.set_parameters(state["agent"], device=self.vector_env.device)
        except (KeyError, RuntimeError, ValueError) as err:
            raise CheckpointError(
                f"the checkpoint of {self.folder} was made with other networks than these settings describe; "
                f"leave the sizes and the agent as they were: {err}"
            ) from err
        for name in self._variables():
            recursive_getattr(self.agent, name).data.copy_(state["agent_variables"][name])
        self._resumed = True
        self.agent.num_timesteps = state["step"]
        self.agent._n_updates = state["agent_updates"]
        self.agent._last_obs = self.env.resume(state["clips_position"], self.config.seed)
        self.agent._last_episode_starts = np.ones(self.config.num_envs, dtype=np.bool_)
        self.vector_env.np_random.bit_generator.state = json.loads(state["random_env"])
        restore_random_state(state["random"], self.vector_env.device)

    # --- Training ----------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Train to the end, or until Ctrl-C or SIGTERM; either way a checkpoint is left behind.

        Raises:
            NonFiniteLossError: If the MAE's loss becomes NaN or infinite; nothing is saved over the last checkpoint.
        """
        config = self.config
        self.agent.set_logger(run_logger(self.folder, self.agent.num_timesteps))
        joint = JointTraining(self.optimizer if config.train_mae else None, log_interval=config.log_interval)
        progress = Progress(joint, self.total_timesteps, log_interval=config.log_interval, quiet=config.quiet)
        evaluation = Evaluation(
            self.held_out,
            self.folder / "pictures",
            interval=config.eval_interval or self.epoch_timesteps,
            progress=progress,
        )
        boundary = Boundary(self.save, interval=config.checkpoint_interval or self.epoch_timesteps)
        callbacks = [boundary, joint, progress, evaluation]
        try:
            finished = self._learn(boundary, callbacks)
            self.save()
            scores = evaluation.measure()
            self.agent.logger.dump(self.agent.num_timesteps)
        finally:
            progress.close()
            self.vector_env.keep_graph = False
            self.agent.logger.close()
        return Result(config, self.folder, scores, evaluation.last_picture, finished)

    def _learn(self, boundary: Boundary, callbacks: list[BaseCallback]) -> bool:
        """Let the agent learn; False if it was stopped before the end."""
        # SB3 counts rollouts in on-policy algorithms and episodes, of which a step has num_envs, in the others.
        per_rollout = 1 if isinstance(self.agent, OnPolicyAlgorithm) else self.config.num_envs
        logs: dict[str, Any] = {"log_interval": self.config.log_interval * per_rollout}
        left = max(0, self.total_timesteps - self.agent.num_timesteps)
        try:
            with stop_on_signal(boundary.ask):
                self.agent.learn(left, callback=callbacks, reset_num_timesteps=not self._resumed, **logs)
        except StopRequestedError:
            return False
        return True

    def close(self) -> None:
        """Stop worker processes."""
        self.env.close()


def resume(folder: Path, config: PretrainConfig | None = None) -> Pretraining:
    """Build the run in `folder` as its newest checkpoint left it, with other settings where `config` is given."""
    config = config or run_config(folder)
    state = load_checkpoint(latest_checkpoint(folder))
    run = Pretraining(config, folder)
    run.load(state)
    update_config(folder, config.as_dict())
    drop_metrics_after(folder / "metrics.jsonl", state["step"])
    return run


def run_config(folder: Path) -> PretrainConfig:
    """Return the settings that the run in `folder` was started with."""
    return config_from_dict(read_config(folder))
