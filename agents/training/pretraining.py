"""One pre-training: builds environment, MAE and agent, trains, saves and resumes them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import set_random_seed

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.nonfinite import FiniteWatch
from tats_gym.agents.requirements import resolve_settings
from tats_gym.agents.rollouts import TokenRollouts
from tats_gym.agents.schedule import batch_size, steps_per_epoch
from tats_gym.agents.training.agent_state import agent_state, restore_agent
from tats_gym.agents.training.callbacks import Checkpoints, Evaluation, StopRequestedError
from tats_gym.agents.training.collapse import CollapseWatch
from tats_gym.agents.training.command_line import flat
from tats_gym.agents.training.joint_training import JointTraining
from tats_gym.agents.training.learning import check_learns, updates
from tats_gym.agents.training.measures.evaluation import HeldOutMetrics, held_out_for
from tats_gym.agents.training.measures.online_probe import online_probe_for
from tats_gym.agents.training.progress import Progress
from tats_gym.agents.training.run_parts import mae_description, make_environment, make_mae
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.messages import first_line
from tats_gym.model.optim import mae_optimizer
from tats_gym.model.protocol import as_module
from tats_gym.runs.checkpoint import CheckpointError, save_checkpoint
from tats_gym.runs.folder import REPLACED, describe_changes
from tats_gym.runs.lock import RunLock, claim_run
from tats_gym.runs.logger import run_logger
from tats_gym.runs.metrics import read_metrics
from tats_gym.train.distributed import GradientAverage, Ranks, broadcast, gather, parallel
from tats_gym.train.nonfinite import check_weights_finite
from tats_gym.train.random_state import random_state, rank_seed, restore_random_state
from tats_gym.train.signals import stop_on_signal


@dataclass(frozen=True)
class PretrainingResult:
    """The result of a run."""

    config: PretrainConfig
    """The run's settings."""
    folder: Path
    """The run's folder."""
    metrics: HeldOutMetrics
    """The last measurement on held-out clips, by rank 0."""
    picture: Path | None
    """The last picture of masks."""
    exit_code: int
    """0 if the run was trained to its end, else that of the signal that stopped it, see `tats_gym.train.signals`."""
    updates: int | None
    """Updates that the agent made; None for agents that do not learn."""

    @property
    def finished(self) -> bool:
        """Whether the run was trained to its end."""
        return self.exit_code == 0


class Pretraining:
    """A pre-training run, built from its settings.

    Args:
        config: The settings.
        folder: The run's folder; None makes a new, numbered one.
        ranks: This process among those of the training; None is a single process.
        lock: Rank 0's lock on the folder, if it holds one already; `close` releases it.
        state: Content of a checkpoint to resume from; `init_mae` is then not read and may be gone.

    Raises:
        CheckpointError: If the state was made with other networks.
        ValueError: If several processes were asked for, and the agent trains in one; or the run ends before its agent's
            first update.
    """

    def __init__(
        self,
        config: PretrainConfig,
        folder: Path | None = None,
        ranks: Ranks | None = None,
        *,
        lock: RunLock | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        build_agent = find_agent(config.agent)
        config = resolve_settings(config, build_agent)
        self.ranks = ranks = ranks or Ranks.alone(config.device)
        self._resumed = state is not None
        vector_env = make_environment(config, ranks)
        self.vector_env = cast(TokenSelectionVectorEnv, vector_env.unwrapped)
        config, mae = make_mae(config, state)
        self.config, self.mae = config, mae
        wrapped = parallel(as_module(mae).to(ranks.device))
        self.vector_env.attach(mae, wrapped)
        self.env = TokenSelectionVecEnv(vector_env)
        epoch_steps, masks_per_step = steps_per_epoch(self.env, config), batch_size(self.env)
        self.epoch_timesteps = epoch_steps * masks_per_step
        self.total_timesteps = config.mae_optim.epochs * self.epoch_timesteps
        self.optimizer = mae_optimizer(
            as_module(mae), config.mae_optim, num_envs=masks_per_step, steps_per_epoch=epoch_steps, module=wrapped
        )
        self.held_out = held_out_for(config, self.mae, num_masks=config.eval_masks) if ranks.first else None
        self.online_probe = online_probe_for(config, self.mae) if ranks.first else None
        self.agent: BaseAlgorithm = build_agent(self.env, config)
        check_learns(self.agent, config, total_timesteps=self.total_timesteps, step_timesteps=masks_per_step)
        self.env.seed(config.seed)  # for agents that were built without a seed
        self.finite = FiniteWatch(self.agent)
        self._join_agents()
        self.folder, self._lock = self._claim_folder(folder, lock)
        self.vector_env.clip_buffer.stream.keep_journal(self.folder / REPLACED)
        if state is not None:
            self._load(state)

    @property
    def step(self) -> int:
        """Masks so far (SB3's timesteps), over all ranks."""
        return self.agent.num_timesteps

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.total_timesteps

    def _join_agents(self) -> None:
        """Average the agent's gradients over the processes, each of which draws masks of its own."""
        config, ranks = self.config, self.ranks
        if ranks.world_size == 1:
            return
        if not isinstance(self.agent, TokenRollouts):
            raise ValueError(
                f"--agent {config.agent} trains in one process, got {ranks.world_size}; agents that are made of "
                "TokenRollouts, such as tats, group, adamae and those that do not learn, train in several"
            )
        self._gradients = GradientAverage(self.agent.policy)
        set_random_seed(rank_seed(config.seed, ranks.rank), using_cuda=ranks.device.type == "cuda")

    def _claim_folder(self, folder: Path | None, lock: RunLock | None) -> tuple[Path, RunLock | None]:
        """Have rank 0 lock the run's folder; return the folder in all ranks, the lock in rank 0."""
        config = self.config
        if self.ranks.first:
            name = f"{config.env.removeprefix('TatsMask-').removesuffix('-v0')}-{config.agent.replace(':', '.')}"
            numbered = Path(config.out, f"{name}-seed{config.seed}")
            folder, lock = claim_run(folder, numbered, config.as_dict(), self.ranks, lock=lock, resumed=self._resumed)
        return broadcast(folder), lock

    # --- Checkpoints -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return the state between two rollouts from which the run resumes, as tensors and plain values.

        All processes must call this; only the first's state is complete.
        """
        return {
            "config": self.config.as_dict(),
            "mae": as_module(self.mae).state_dict(),
            **mae_description(self.config, self.mae),
            "mae_optim": self.optimizer.state_dict(),
            **agent_state(self.agent),
            "agent_finite": self.finite.state_dict(),
            "clips_position": self._clips_position * self.ranks.world_size,
            "random": gather(self._random_state()),  # of each rank
        }

    @property
    def _clips_position(self) -> int:
        """Clips masked so far; the next ones are in the buffer already, and a resumed run takes them again."""
        return self.vector_env.clip_buffer.stream.position - self.vector_env.clip_buffer.num_clips

    def _random_state(self) -> dict[str, Any]:
        return {
            "process": random_state(self.vector_env.device),
            "env": json.dumps(self.vector_env.np_random.bit_generator.state),
            "actions": json.dumps(self.agent.action_space.np_random.bit_generator.state),
        }

    def save(self) -> None:
        """Write a checkpoint into the run's folder; all ranks must call this, rank 0 writes.

        Raises:
            NonFiniteError: If a weight of the MAE or the agent is NaN or infinite; no file is written.
        """
        for name, module in (("MAE", as_module(self.mae)), ("agent", self.agent.policy)):
            check_weights_finite(name, module, f"timestep {self.step}")
        state = self.state()
        if self.ranks.first:
            keep, hours = self.config.keep_checkpoints, self.config.keep_checkpoint_hours
            save_checkpoint(self.folder / "checkpoints", state["step"], state, keep=keep, keep_hours=hours)

    def _load(self, state: dict[str, Any]) -> None:
        """Load the result of `state`, also from a run with another number of processes."""
        try:
            as_module(self.mae).load_state_dict(state["mae"])
            self.optimizer.load_state_dict(state["mae_optim"])
            restore_agent(self.agent, state)
        except (KeyError, RuntimeError, ValueError) as err:
            changed = describe_changes(state.get("config", {}), self.config.as_dict()) or "no setting differs"
            raise CheckpointError(
                f"the checkpoint of {self.folder} was made with other networks than these settings describe; "
                f"leave the sizes and the agent as they were ({changed}): {first_line(err)}"
            ) from err
        if "agent_finite" in state:  # older checkpoints lack it
            self.finite.load_state_dict(state["agent_finite"])
        seed, ranks = self.config.seed, self.ranks
        self.agent._last_obs = self.env.resume(state["clips_position"] // ranks.world_size, seed)
        self.agent._last_episode_starts = np.ones(self.config.num_envs, dtype=np.bool_)
        if ranks.rank >= len(state["random"]):  # more processes than before
            set_random_seed(rank_seed(seed, ranks.rank, state["step"]), using_cuda=ranks.device.type == "cuda")
            return
        random = state["random"][ranks.rank]
        self.vector_env.np_random.bit_generator.state = json.loads(random["env"])
        self.agent.action_space.np_random.bit_generator.state = json.loads(random["actions"])
        restore_random_state(random["process"], self.vector_env.device)

    # --- Training ----------------------------------------------------------------------------------------------------

    def run(self) -> PretrainingResult:
        """Train to the end, or until a signal asks to stop; save a checkpoint in either case.

        Raises:
            NonFiniteError: If a number of `tats_gym.train.nonfinite` is not finite; the last checkpoint is kept.
        """
        config, first = self.config, self.ranks.first
        ended_before = self._resumed and self.finished and broadcast(self._is_measured())
        log_folder = self.folder if first and not ended_before else None
        self.agent.set_logger(run_logger(log_folder, self.step, flat(config), config.track))
        joint = JointTraining(self.optimizer if config.train_mae else None, log_interval=config.log_interval)
        name = str(self.folder) if first else None
        progress = Progress(
            joint, self.total_timesteps, log_interval=config.log_interval, name=name, quiet=config.quiet
        )
        save, interval = progress.paused()(self.save), config.checkpoint_interval or self.epoch_timesteps
        checkpoints = Checkpoints(save, interval=interval, optimizer=self.optimizer)
        callbacks: list[BaseCallback] = [self.finite, checkpoints, joint, progress]
        if evaluation := self._evaluation(progress):
            callbacks += [evaluation, CollapseWatch(evaluation, config)]
        try:
            with stop_on_signal(checkpoints.request_stop):
                exit_code = self._learn(callbacks)
                if not ended_before:
                    self.save()
            measured = evaluation and (evaluation.measure(), evaluation.last_picture)
        finally:
            progress.close()
            self.vector_env.keep_graph = False
            self.agent.logger.close()
        metrics, picture = broadcast(measured)
        return PretrainingResult(config, self.folder, metrics, picture, exit_code, updates(self.agent))

    def _evaluation(self, progress: Progress) -> Evaluation | None:
        """Make the callback that measures on held-out clips; None in all ranks but 0."""
        if self.held_out is None:
            return None
        interval = self.config.eval_interval or self.epoch_timesteps
        pictures = self.folder / "pictures"
        return Evaluation(self.held_out, pictures, interval=interval, progress=progress, probe=self.online_probe)

    def _is_measured(self) -> bool:
        """Whether the log holds a measurement at the current step."""
        return any(row.get("step") == self.step and "held_out/gain" in row for row in read_metrics(self.folder))

    def _learn(self, callbacks: list[BaseCallback]) -> int:
        """Train the agent; return the exit code, 0 unless it was stopped before the end."""
        # SB3's log_interval counts rollouts in on-policy algorithms, episodes in the others: num_envs of them a step.
        per_rollout = 1 if isinstance(self.agent, OnPolicyAlgorithm) else self.config.num_envs
        logs: dict[str, Any] = {"log_interval": self.config.log_interval * per_rollout}
        left = max(0, self.total_timesteps - self.agent.num_timesteps)
        try:
            self.agent.learn(left, callback=callbacks, reset_num_timesteps=not self._resumed, **logs)
        except StopRequestedError as stop:
            return stop.exit_code
        return 0

    def close(self) -> None:
        """Stop worker processes, and release the run's folder."""
        self.env.close()
        if self._lock is not None:
            self._lock.release()
