"""Logs a supervised training to a progress bar, TensorBoard and metrics.jsonl."""

import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tats_gym.clips import ClipStream
from tats_gym.runs.logger import run_logger
from tats_gym.runs.progress import progress_bar


class TrainingLog:
    """Logs the loss, the speed and the share of time spent waiting for clips.

    Args:
        folder: Folder of the run; None for ranks that do not write.
        stream: The source of the clips.
        step_clips: Clips of a step, over all ranks.
        step: Steps so far.
        total_steps: Steps of the whole run.
        interval: Steps between lines of the log.
        quiet: Print a line every ten minutes instead of a progress bar.
    """

    def __init__(
        self,
        folder: Path | None,
        stream: ClipStream,
        *,
        step_clips: int,
        step: int,
        total_steps: int,
        interval: int,
        quiet: bool,
    ) -> None:
        self._logger = None if folder is None else run_logger(folder, step)
        self._stream, self._step_clips, self._interval = stream, step_clips, interval
        self._step = step
        self._losses: list[float] = []
        self._note = ""
        self._bar: tqdm[Any] = progress_bar(
            total=total_steps, initial=step, unit="step", name=str(folder), quiet=quiet, disable=folder is None
        )
        self._mark()

    def _mark(self) -> None:
        self._since, self._waited = time.perf_counter(), self._stream.wait_s
        self._losses = []

    def step(self, loss: float, **values: float) -> None:
        """Count a step; every `interval` steps, log the mean loss with these values."""
        self._step += 1
        self._losses.append(loss)
        self._bar.set_description_str(f"loss {loss:.4f}{self._note}", refresh=False)
        self._bar.update()
        if self._step % self._interval:
            return
        seconds = max(time.perf_counter() - self._since, 1e-9)
        rate, wait = len(self._losses) * self._step_clips / seconds, (self._stream.wait_s - self._waited) / seconds
        self._bar.set_postfix_str(f"{rate:.1f} clips/s, data wait {wait:.0%}", refresh=False)
        self.record("train", loss=sum(self._losses) / len(self._losses), **values)
        broken = sum(self._stream.broken.values())
        self.record("time", clips_per_s=rate, data_wait_share=wait, broken_videos=broken)
        self.dump()
        self._mark()

    def show(self, text: str) -> None:
        """Show a text beside the loss from now on."""
        self._note = f", {text}"

    def record(self, group: str, **values: float | None) -> None:
        """Add values to the next line of the log; None is left out."""
        if self._logger is not None:
            for name, value in values.items():
                if value is not None:
                    self._logger.record(f"{group}/{name}", value)

    def dump(self) -> None:
        """Write a line of the log."""
        if self._logger is not None:
            self._logger.dump(self._step)

    def close(self) -> None:
        """Close the bar and the files."""
        self._bar.close()
        if self._logger is not None:
            self._logger.close()
