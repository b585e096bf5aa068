"""The callback that shows and logs the speed of a training."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from tats_gym.agents.training.joint_training import JointTraining
from tats_gym.agents.training.measures.evaluation import HeldOutMetrics
from tats_gym.runs.progress import progress_bar
from tats_gym.train.distributed import summed
from tats_gym.train.memory import peak_memory_mib


class Progress(BaseCallback):
    """A progress bar with loss, gain, masks/s and the share of time spent waiting for clips; logs the speed too.

    Time in `paused` blocks, such as evaluations, is left out of both.

    Args:
        joint: Gives the loss and the training environment.
        total_timesteps: Masks at the end of the run (SB3's timesteps).
        log_interval: Rollouts from one line of the log to the next.
        name: Name of the run at the head of lines; None turns the bar off.
        quiet: No bar, but a line every ten minutes.
    """

    def __init__(
        self,
        joint: JointTraining,
        total_timesteps: int,
        *,
        log_interval: int,
        name: str | None = None,
        quiet: bool = False,
    ) -> None:
        super().__init__()
        self.joint, self.total_timesteps = joint, total_timesteps
        self.log_interval, self.name, self.quiet = log_interval, name, quiet
        self.metrics: HeldOutMetrics | None = None
        self._rollouts = 0
        self._paused_s = 0.0
        self.bar = tqdm(disable=True)

    def _on_training_start(self) -> None:
        self.bar = progress_bar(
            total=self.total_timesteps,
            initial=self.num_timesteps,
            unit="mask",
            name=self.name or "",
            quiet=self.quiet,
            disable=self.name is None,
        )
        self._mark()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of this block out of the speed."""
        started = time.perf_counter()
        yield
        self._paused_s += time.perf_counter() - started

    def _training_s(self) -> float:
        return time.perf_counter() - self._paused_s

    def _mark(self) -> None:
        self._since = (self._training_s(), self.num_timesteps, self.joint.env.vector_env.clip_buffer.stream.wait_s)

    def _speed(self) -> tuple[float, float]:
        """Return masks/s, and the share of time spent waiting for clips, since the last mark."""
        started, steps, waited = self._since
        seconds = max(self._training_s() - started, 1e-9)
        waited = self.joint.env.vector_env.clip_buffer.stream.wait_s - waited
        return (self.num_timesteps - steps) / seconds, waited / seconds

    def _on_step(self) -> bool:
        gain = "" if self.metrics is None else f", gain {self.metrics.gain:+.4f}"
        masks_per_s, wait_share = self._speed()
        self.bar.set_description_str(f"loss {self.joint.last_loss:.4f}{gain}", refresh=False)
        self.bar.set_postfix_str(f"{masks_per_s:.1f} masks/s, data wait {wait_share:.0%}", refresh=False)
        self.bar.update(self.num_timesteps - self.bar.n)
        return True

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if self._rollouts % self.log_interval:
            return
        vector_env = self.joint.env.vector_env
        masks_per_s, wait_share = self._speed()
        self._mark()
        self.logger.record("time/masks_per_s", masks_per_s)
        self.logger.record("time/data_wait_share", wait_share)
        self.logger.record("time/peak_memory_mib", peak_memory_mib(vector_env.device))
        broken = torch.tensor(sum(vector_env.clip_buffer.stream.broken.values()), device=vector_env.device)
        self.logger.record("time/broken_videos", int(summed(broken).item()))

    def close(self) -> None:
        """Close the bar; call it after an error too."""
        self.bar.close()
