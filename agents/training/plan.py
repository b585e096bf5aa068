"""Plans a run before it is made: hours, memory and disk on this machine, from a short measurement."""

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from stable_baselines3.common.logger import configure
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.rollouts import TokenRollouts
from tats_gym.agents.training.joint_training import JointTraining
from tats_gym.agents.training.learning import rollout_steps, unlearned_masks
from tats_gym.agents.training.measures.evaluation import HeldOut
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.train.memory import peak_memory_mib

ROLLOUTS = 3
"""Rollouts that are timed in each phase of a run, after one to warm up."""
EVAL_CLIPS = 16
"""Most held-out clips that are measured; the seconds are scaled to the run's `eval_clips`."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase of a run with one speed: before its sampler learns, or while it does."""

    name: str
    """For the report."""
    masks: int
    """Masks of the run in this phase."""
    masks_per_s: float
    """Measured speed."""
    wait_share: float
    """Share of the measured time in which the device waited for clips."""

    @property
    def hours(self) -> float:
        """Duration of the phase."""
        return self.masks / self.masks_per_s / 3600


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The time, memory and disk that a run takes on this machine."""

    config: PretrainConfig
    """The run's settings, its agent's own among them."""
    phases: tuple[Phase, ...]
    """The phases, one after the other."""
    measurements: int
    """Measurements on held-out clips, one at the start and one at the end among them."""
    measurement_s: float
    """Seconds of one."""
    peak_memory_mib: float
    """Peak so far, of the GPU on a GPU, else of this process."""
    checkpoint_bytes: int
    """Size of one checkpoint."""
    rollout_masks: int
    """Masks in a rollout of the agent."""

    @property
    def masks_per_s(self) -> float:
        """Speed of the whole training, without measurements."""
        return sum(phase.masks for phase in self.phases) / sum(phase.hours * 3600 for phase in self.phases)

    @property
    def hours(self) -> float:
        """Duration of the run."""
        return sum(phase.hours for phase in self.phases) + self.measurements * self.measurement_s / 3600

    @property
    def checkpoints(self) -> int:
        """Checkpoints on the disk at the end."""
        spaced = self.config.keep_checkpoint_hours
        return self.config.keep_checkpoints + (int(self.hours / spaced) if spaced else 0)

    @property
    def disk_bytes(self) -> int:
        """Bytes of the checkpoints; pictures and logs are small beside them."""
        return self.checkpoints * self.checkpoint_bytes

    def report(self) -> str:
        """Return the plan as text."""
        config, masks = self.config, sum(phase.masks for phase in self.phases)
        lines = [
            f"{config.env}, {config.agent}: {masks:,} masks in {config.mae_optim.epochs} epochs",
            f"measured on {os.cpu_count()} cores, device {config.device}, {config.clips.num_workers} workers, "
            f"{config.num_envs} masks a step:",
        ]
        for phase in self.phases:
            speed = f"{phase.masks_per_s:.2f} a second, {phase.wait_share:.0%} of the time waiting for clips"
            lines.append(f"  {phase.name}: {phase.masks:,} masks at {speed}: {_hours(phase.hours)}")
        lines += [
            f"  {self.measurements} measurements on held-out clips, {self.measurement_s:.1f} s each: "
            f"{_hours(self.measurements * self.measurement_s / 3600)}",
            f"time:   {_hours(self.hours)}",
            f"memory: {self.peak_memory_mib / 1024:.1f} GiB",
            f"disk:   {self.disk_bytes / 2**30:.2f} GiB, {self.checkpoints} checkpoints of "
            f"{self.checkpoint_bytes / 2**20:.0f} MiB",
        ]
        return "\n".join(lines)


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"


def plan_run(config: PretrainConfig) -> RunPlan:
    """Build a run in a temporary folder, measure it, and discard it.

    Args:
        config: The run's settings. Windows that the measurement decodes stay in the cache, if there is one.

    Raises:
        ValueError: If a part does not fit, as when the run is made; or in one of several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "--dry-run measures one process, got several (WORLD_SIZE); give the command without torchrun: "
            "n GPUs need about an n-th of the time"
        )
    with tempfile.TemporaryDirectory() as folder:
        eval_clips = min(config.eval_clips, EVAL_CLIPS)
        run = Pretraining(replace(config, out=folder, quiet=True, eval_clips=eval_clips, track=None))
        try:
            run.agent.set_logger(configure(None, []))
            unlearned = min(unlearned_masks(run.agent), run.total_timesteps)
            learned = run.total_timesteps - unlearned
            phases = [_phase(run, "before the sampler learns", unlearned)] if unlearned else []
            _begin_to_learn(run)
            phases += [_phase(run, "while it learns" if phases else "the whole run", learned)] if learned else []
            measurement_s = _measurement_s(run) * config.eval_clips / eval_clips + _probe_s(run)
            run.save()
            (checkpoint,) = Path(run.folder, "checkpoints").iterdir()
            checkpoint_bytes = checkpoint.stat().st_size
        finally:
            run.close()
        interval = config.eval_interval or run.epoch_timesteps
        return RunPlan(
            config=replace(run.config, eval_clips=config.eval_clips, device=str(run.vector_env.device)),
            phases=tuple(phases),
            measurements=-(-run.total_timesteps // interval) + 1,
            measurement_s=measurement_s,
            peak_memory_mib=peak_memory_mib(run.vector_env.device),
            checkpoint_bytes=checkpoint_bytes,
            rollout_masks=rollout_steps(run.agent) * config.num_envs,
        )


def _begin_to_learn(run: Pretraining) -> None:
    """End the phase of the run in which the agent makes no update."""
    if isinstance(run.agent, OffPolicyAlgorithm):
        run.agent.learning_starts = 0
    elif isinstance(run.agent, TokenRollouts):
        run.agent.warmup_timesteps = 0


def _phase(run: Pretraining, name: str, masks: int) -> Phase:
    """Time a few rollouts of the run as it is now."""
    agent, stream = run.agent, run.vector_env.clip_buffer.stream
    rollout = rollout_steps(agent) * run.config.num_envs
    joint = JointTraining(run.optimizer if run.config.train_mae else None)
    agent.learn(rollout, callback=[joint], reset_num_timesteps=False)
    started, waited = time.perf_counter(), stream.wait_s
    agent.learn(ROLLOUTS * rollout, callback=[joint], reset_num_timesteps=False)
    seconds = time.perf_counter() - started
    return Phase(
        name=name,
        masks=masks,
        masks_per_s=ROLLOUTS * rollout / seconds,
        wait_share=(stream.wait_s - waited) / seconds,
    )


def _measurement_s(run: Pretraining) -> float:
    """Time a measurement on the held-out clips."""
    assert isinstance(run.held_out, HeldOut)
    started = time.perf_counter()
    run.held_out.measure(run.agent.policy)
    return time.perf_counter() - started


def _probe_s(run: Pretraining) -> float:
    """Time a measurement by the online probe; 0 without one."""
    started = time.perf_counter()
    if run.online_probe is not None:
        run.online_probe.measure()
    return time.perf_counter() - started
