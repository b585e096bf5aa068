"""Callbacks of the joint training: MAE updates, progress, evaluation on held-out clips, checkpoints."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.image
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Image
from tqdm import tqdm

from tats_gym.agents.nonfinite import step_label
from tats_gym.agents.training.evaluation import HeldOut, HeldOutScores, SamplerState, as_metrics
from tats_gym.agents.training.learning import updates
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.figures.masks import choice_figure, mask_figure
from tats_gym.runs.progress import progress_bar
from tats_gym.train.distributed import maximum, mean, summed
from tats_gym.train.nonfinite import check_finite
from tats_gym.train.optimizer import ScheduledAdamW

TEXT_FORMATS = ("stdout", "log", "json", "csv")
"""Log formats that receive no pictures."""


class JointTraining(BaseCallback):
    """The hook: one backward pass of the MAE after each environment step, under the agent's masks.

    Works with any SB3 algorithm, and under SB3's wrappers, such as VecNormalize and VecMonitor. The environment
    computes the loss and keeps its graph; only this callback changes the MAE's weights. A loss or reward that
    is not finite ends the run, see `tats_gym.train.nonfinite`.

    Args:
        optimizer: Steps the MAE that is attached to the environment; None leaves its weights as they are.
        log_interval: Rollouts from one line of the log to the next.
    """

    def __init__(self, optimizer: ScheduledAdamW | None, *, log_interval: int = 1) -> None:
        super().__init__()
        self.optimizer, self.log_interval = optimizer, log_interval
        self.last_loss = float("nan")
        self._losses: list[float] = []
        self._rewards: list[float] = []
        self._rollouts = 0

    @property
    def env(self) -> TokenSelectionVecEnv:
        """The training environment, without its wrappers."""
        env = self.training_env.unwrapped
        if not isinstance(env, TokenSelectionVecEnv):
            raise TypeError(f"joint training needs a TokenSelectionVecEnv, got {type(env).__name__}")
        return env

    def _on_training_start(self) -> None:
        self.env.vector_env.keep_graph = self.optimizer is not None

    def _on_step(self) -> bool:
        vector_env = self.env.vector_env
        loss, vector_env.loss = vector_env.loss, None
        assert loss is not None
        both = torch.stack((loss.detach(), vector_env.last_rewards.mean()))
        self.last_loss, reward = mean(both).tolist()  # waits for the device once
        check_finite("the MAE's loss", self.last_loss, step_label(self.model))
        check_finite("the reward", reward, step_label(self.model))
        if self.optimizer is not None:
            self.optimizer.step(loss)
        self._losses.append(self.last_loss)
        self._rewards.append(reward)
        if self.optimizer is not None and not self.env.as_tensors:
            self._embed_again()
        return True

    def _embed_again(self) -> None:
        """Embed the next observations with the MAE's new weights, in the array that the algorithm holds."""
        observations = self.env.refresh()
        normalize = self.model.get_vec_normalize_env()
        if normalize is not None:  # whose normalised copy the algorithm holds
            self.locals["new_obs"][:] = normalize.normalize_obs(observations)

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if self._rollouts % self.log_interval == 0:
            self.logger.record("mae/loss", sum(self._losses) / len(self._losses))  # averaged over all processes
            if self.optimizer is not None:
                self.logger.record("mae/learning_rate", self.optimizer.lr.at(self.optimizer.steps))
                self.logger.record("mae/steps", self.optimizer.steps)
                self.logger.record("mae/grad_norm", self.optimizer.guard.norm)
                self.logger.record("mae/skipped_steps", self.optimizer.guard.skipped)
            self.logger.record("rollout/reward", sum(self._rewards) / len(self._rewards))
            self._losses, self._rewards = [], []

    def _on_training_end(self) -> None:
        self.env.vector_env.keep_graph = False


class Progress(BaseCallback):
    """A progress bar with loss, gain, clips/s and the share of time spent waiting for clips; logs the speed too.

    Time in `paused` blocks, such as evaluations, is left out of both.

    Args:
        joint: Gives the loss and the training environment.
        total_timesteps: Environment steps (clips) at the end of the run.
        log_interval: Rollouts from one line of the log to the next.
        name: The run's, at the head of lines; None turns the bar off.
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
        self.scores: HeldOutScores | None = None
        self._rollouts = 0
        self._paused_s = 0.0
        self.bar = tqdm(disable=True)

    def _on_training_start(self) -> None:
        self.bar = progress_bar(
            total=self.total_timesteps,
            initial=self.num_timesteps,
            unit="clip",
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
        """Return clips/s, and the share of time spent waiting for clips, since the last mark."""
        started, steps, waited = self._since
        seconds = max(self._training_s() - started, 1e-9)
        waited = self.joint.env.vector_env.clip_buffer.stream.wait_s - waited
        return (self.num_timesteps - steps) / seconds, waited / seconds

    def _on_step(self) -> bool:
        gain = "" if self.scores is None else f", gain {self.scores.gain:+.4f}"
        clips_per_s, wait_share = self._speed()
        self.bar.set_description_str(f"loss {self.joint.last_loss:.4f}{gain}", refresh=False)
        self.bar.set_postfix_str(f"{clips_per_s:.1f} clips/s, data wait {wait_share:.0%}", refresh=False)
        self.bar.update(self.num_timesteps - self.bar.n)
        return True

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if self._rollouts % self.log_interval:
            return
        vector_env = self.joint.env.vector_env
        clips_per_s, wait_share = self._speed()
        self._mark()
        self.logger.record("time/clips_per_s", clips_per_s)
        self.logger.record("time/data_wait_share", wait_share)
        self.logger.record("time/peak_memory_mib", peak_memory_mib(vector_env.device))
        broken = torch.tensor(sum(vector_env.clip_buffer.stream.broken.values()), device=vector_env.device)
        self.logger.record("time/broken_videos", int(summed(broken).item()))

    def close(self) -> None:
        """Close the bar; call it after an error too."""
        self.bar.close()


class Evaluation(BaseCallback):
    """Measures the agent on held-out clips at regular intervals, and draws its masks.

    Args:
        held_out: The clips, and the measurement.
        folder: Receives the pictures.
        interval: Environment steps from one measurement to the next.
        progress: Shows the newest gain; paused during a measurement.
        num_pictures: Clips drawn at each measurement.
    """

    def __init__(
        self, held_out: HeldOut, folder: Path, *, interval: int, progress: Progress, num_pictures: int = 1
    ) -> None:
        super().__init__()
        self.held_out, self.folder, self.interval = held_out, folder, interval
        self.progress, self.num_pictures = progress, num_pictures
        self.last_picture: Path | None = None
        self.state: SamplerState | None = None
        """State of the agent's distribution at the last measurement; None for agents without one."""

    def _on_training_start(self) -> None:
        self._next = self.num_timesteps

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._next:
            self._next = (self.num_timesteps // self.interval + 1) * self.interval
            with self.progress.paused():
                self.measure()

    def _on_step(self) -> bool:
        return True

    def measure(self) -> HeldOutScores:
        """Measure, draw and log now, as a separate line of the log at the current step."""
        policy = self.model.policy
        policy.set_training_mode(False)
        scores, self.state = self.held_out.measure(policy)
        metrics: dict[str, float] = as_metrics("held_out", scores)
        if self.state is not None:
            metrics |= as_metrics("sampler", self.state)
        if (count := updates(self.model)) is not None:
            metrics["sampler/updates"] = count
        for name, value in metrics.items():
            self.logger.record(name, value)
        self._draw()
        self.logger.dump(self.num_timesteps)
        self.progress.scores = scores
        return scores

    def _draw(self) -> None:
        self.folder.mkdir(exist_ok=True)
        pixels, masked = self.held_out.picture(self.model.policy, "agent")
        for clip in range(min(self.num_pictures, len(pixels))):
            title = f"after {self.num_timesteps} clips, held-out clip {clip}"
            image = mask_figure(self.held_out.mae.grid, pixels, [masked], clip=clip, title=title)
            self.last_picture = self.folder / f"masks-{self.num_timesteps:09d}-clip{clip}.png"
            matplotlib.image.imsave(self.last_picture, image)
            self.logger.record(f"masks/clip{clip}", Image(image, "HWC"), exclude=TEXT_FORMATS)
        if self.held_out.shown is not None:
            image = choice_figure(
                self.held_out.mae.grid, self.held_out.shown, title=f"after {self.num_timesteps} clips"
            )
            matplotlib.image.imsave(self.folder / f"chosen-{self.num_timesteps:09d}.png", image)
            self.logger.record("masks/chosen", Image(image, "HWC"), exclude=TEXT_FORMATS)


class StopRequestedError(Exception):
    """The user or the system asked the run to end; the exit code says which."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Checkpoints(BaseCallback):
    """Saves checkpoints between rollouts, when MAE, agent and clips are at rest; ends the run there on request.

    Args:
        save: Writes a checkpoint.
        interval: Environment steps from one checkpoint to the next.
        optimizer: The MAE's; while it accumulates gradients, the run is not at rest.
    """

    def __init__(self, save: Callable[[], object], *, interval: int, optimizer: ScheduledAdamW) -> None:
        super().__init__()
        self.save, self.interval, self.optimizer = save, interval, optimizer
        self._stop = 0

    def request_stop(self, exit_code: int) -> None:
        """End the run before the next rollout, with this exit code."""
        self._stop = max(self._stop, exit_code)

    def _on_training_start(self) -> None:
        self._next = (self.num_timesteps // self.interval + 1) * self.interval

    def _on_rollout_start(self) -> None:
        if not self.optimizer.no_pending_gradients:
            return
        if exit_code := maximum(self._stop, self.model.device):
            raise StopRequestedError(exit_code)
        if self.num_timesteps >= self._next:
            self._next = (self.num_timesteps // self.interval + 1) * self.interval
            self.save()

    def _on_step(self) -> bool:
        return True


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak memory so far in MiB: the GPU's on a GPU, else this process's resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
