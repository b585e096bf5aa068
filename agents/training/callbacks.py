"""Callbacks of a training: evaluation on held-out clips, and checkpoints."""

from collections.abc import Callable
from pathlib import Path

import matplotlib.image
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Image

from tats_gym.agents.training.learning import updates
from tats_gym.agents.training.measures.evaluation import HeldOut, HeldOutMetrics, SamplerState, as_metrics
from tats_gym.agents.training.measures.online_probe import OnlineProbe
from tats_gym.agents.training.progress import Progress
from tats_gym.figures.masks import choice_figure, mask_figure
from tats_gym.train.distributed import maximum
from tats_gym.train.optimizer import ScheduledAdamW

TEXT_FORMATS = ("stdout", "log", "json", "csv")
"""Log formats that receive no pictures."""


class Evaluation(BaseCallback):
    """Measures the agent on held-out clips at regular intervals, and draws its masks.

    Args:
        held_out: The clips, and the measurement.
        folder: Receives the pictures.
        interval: Masks from one measurement to the next.
        progress: Shows the newest gain; paused during a measurement.
        num_pictures: Clips drawn at each measurement.
        probe: Measures the encoder too; None for none.
    """

    def __init__(
        self,
        held_out: HeldOut,
        folder: Path,
        *,
        interval: int,
        progress: Progress,
        num_pictures: int = 1,
        probe: OnlineProbe | None = None,
    ) -> None:
        super().__init__()
        self.probe = probe
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

    def measure(self) -> HeldOutMetrics:
        """Measure, draw and log now, as a separate line of the log at the current step."""
        policy = self.model.policy
        policy.set_training_mode(False)
        measured, self.state = self.held_out.measure(policy)
        logged: dict[str, float] = as_metrics("held_out", measured)
        if self.state is not None:
            logged |= as_metrics("sampler", self.state)
        if self.probe is not None:
            logged |= as_metrics("held_out", self.probe.measure())
        if (count := updates(self.model)) is not None:
            logged["sampler/updates"] = count
        for name, value in logged.items():
            self.logger.record(name, value)
        self._draw()
        self.logger.dump(self.num_timesteps)
        self.progress.metrics = measured
        return measured

    def _draw(self) -> None:
        self.folder.mkdir(exist_ok=True)
        pixels, masked = self.held_out.picture(self.model.policy, "agent")
        for clip in range(min(self.num_pictures, len(pixels))):
            title = f"after {self.num_timesteps} masks, held-out clip {clip}"
            image = mask_figure(self.held_out.mae.grid, pixels, [masked], clip=clip, title=title)
            self.last_picture = self.folder / f"masks-{self.num_timesteps:09d}-clip{clip}.png"
            matplotlib.image.imsave(self.last_picture, image)
            self.logger.record(f"masks/clip{clip}", Image(image, "HWC"), exclude=TEXT_FORMATS)
        if self.held_out.visible_share is not None:
            image = choice_figure(
                self.held_out.mae.grid, self.held_out.visible_share, title=f"after {self.num_timesteps} masks"
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
        interval: Masks from one checkpoint to the next.
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
