"""Supervised fine-tuning of an encoder: one run, from its start or a checkpoint to the final test."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tats_gym.clips import ClipStream
from tats_gym.clips.decoder import Views
from tats_gym.finetune.best import BEST, BestCheckpoint
from tats_gym.finetune.config import FinetuneConfig
from tats_gym.finetune.log import TrainingLog
from tats_gym.finetune.mixing import mix
from tats_gym.finetune.older_checkpoints import counted_in_videos
from tats_gym.finetune.start import first_encoder
from tats_gym.finetune.testing import FinetuneResult, evaluate, write_test
from tats_gym.messages import first_line
from tats_gym.model.classifier import VideoClassifier, layer_groups
from tats_gym.probe.labels import check_labels, labels_of
from tats_gym.probe.scoring import Accuracy
from tats_gym.runs.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from tats_gym.runs.folder import REPLACED
from tats_gym.runs.lock import RunLock, claim_run
from tats_gym.tokens import TokenGrid
from tats_gym.train.device_copy import DeviceCopy, copy_stream
from tats_gym.train.distributed import Ranks, broadcast, maximum, mean, parallel
from tats_gym.train.nonfinite import check_finite, check_weights_finite
from tats_gym.train.optimizer import ScheduledAdamW
from tats_gym.train.precision import autocast
from tats_gym.train.signals import stop_on_signal


def _moving_average(model: VideoClassifier, decay: float, state: dict[str, Any]) -> Any:
    """Begin timm's moving average at the weights of a classifier, or at the average in a checkpoint."""
    from timm.utils.model_ema import ModelEmaV3  # takes seconds, and most runs do without

    average = ModelEmaV3(model, decay=decay).requires_grad_(False)
    if "ema" in state:
        average.module.load_state_dict(state["ema"])
    return average


def _open_streams(config: FinetuneConfig, grid: TokenGrid, ranks: Ranks) -> tuple[ClipStream, ClipStream]:
    """Open the training clips of one rank, and the held-out clips.

    Raises:
        ValueError: If their labels do not suit training and test.
    """
    train = ClipStream(
        config.clips,
        frames=grid.frames,
        size=grid.size,
        seed=config.seed,
        shard=(ranks.rank, ranks.world_size),
        pin_memory=ranks.device.type == "cuda",
    )
    held_out = ClipStream(config.clips.held_out, frames=grid.frames, size=grid.size, seed=0)
    check_labels(labels_of(train.videos), labels_of(held_out.videos))
    return train, held_out


class Finetuning:
    """A fine-tuning run: classifier, clips and optimiser.

    Args:
        config: The settings.
        ranks: The ranks of the training.
        folder: Folder of the run; None for a new one in `config.out`.
        lock: The folder's lock, if it is held already.
        state: Contents of a checkpoint in the folder, to resume from.

    Raises:
        ValueError: If the dataset has no labels, or its splits have different classes.
        CheckpointError: If the encoder or the checkpoint does not fit the settings.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        ranks: Ranks,
        folder: Path | None = None,
        *,
        lock: RunLock | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.config, self.ranks, self._lock = config, ranks, lock
        encoder = first_encoder(config, state)
        self.train, self.held_out = _open_streams(config, encoder.grid, ranks)
        self.classes = self.train.videos.classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = VideoClassifier(encoder, len(self.classes), config.pool).to(ranks.device)
        self._parallel = parallel(self.model)
        self.step_clips = config.step_clips * ranks.world_size
        """Clips in a step, over all ranks."""
        steps = max(1, len(self.train) // config.step_clips // config.optim.accumulate)
        self.steps_per_epoch = steps * config.optim.accumulate  # so that an epoch ends with an optimiser step
        self.optimizer = self._make_optimizer()
        self.step = 0
        """Steps so far, of each rank."""
        self.total_steps = config.optim.epochs * self.steps_per_epoch
        self._stop = 0
        self._copy_stream = copy_stream(ranks.device)
        if state is not None:
            self._load(state)
        self._average = None if config.ema is None else _moving_average(self.model, config.ema, state or {})
        if ranks.first:
            numbered = Path(config.out, f"{config.clips.data}-finetune-seed{config.seed}")
            settings, resumed = config.as_dict(), state is not None
            folder, self._lock = claim_run(folder, numbered, settings, ranks, lock=lock, resumed=resumed)
        self.folder: Path = broadcast(folder)
        """The folder of the run."""
        self._best = BestCheckpoint(self.folder / BEST, self.step)
        self.train.keep_journal(self.folder / REPLACED)
        self.train.seek(self.step * config.step_clips)

    def _make_optimizer(self) -> ScheduledAdamW:
        config = self.config.optim
        return ScheduledAdamW(
            "classifier",
            layer_groups(self.model, config.weight_decay, config.layer_decay),
            config,
            batch_size=self.config.batch_size * self.ranks.world_size,  # videos, by which the rate is scaled
            steps_per_epoch=self.steps_per_epoch,
            module=self._parallel,
        )

    @property
    def evaluated(self) -> VideoClassifier:
        """The classifier that is evaluated: the moving average of the weights if there is one."""
        averaged: VideoClassifier = self.model if self._average is None else self._average.module
        return averaged

    # --- Saving and resuming -----------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint; all ranks must call it, rank 0 writes.

        Raises:
            NonFiniteError: If a weight is NaN or infinite; no file is written.
        """
        check_weights_finite("classifier", self.model, f"step {self.step}")
        average = {} if self._average is None else {"ema": self.evaluated.state_dict()}
        state = {**self._classifier_state(self.model), **average, "optim": self.optimizer.state_dict()}
        if self.ranks.first:
            save_checkpoint(self.folder / "checkpoints", self.step, state, keep=self.config.keep_checkpoints)

    def _classifier_state(self, model: VideoClassifier) -> dict[str, Any]:
        """Return the weights of a classifier, with all that is needed to build it."""
        return {
            "step": self.step,
            "step_clips": self.step_clips,
            "config": self.config.as_dict(),
            "classifier": model.state_dict(),
            "mae_config": asdict(model.video.config),
            "grid": asdict(model.video.grid),
            "classes": list(self.classes),
        }

    def _load(self, state: dict[str, Any]) -> None:
        if tuple(state["classes"]) != self.classes:
            raise CheckpointError(
                f"the run learned {len(state['classes'])} classes ({state['classes'][0]!r}, ...), the dataset has "
                f"{len(self.classes)} ({self.classes[0]!r}, ...); resume it with the data that it was made with"
            )
        state = counted_in_videos(state, self.config, self.ranks)
        try:
            self.model.load_state_dict(state["classifier"])
            self.optimizer.load_state_dict(state["optim"])
        except (KeyError, RuntimeError, ValueError) as err:
            raise CheckpointError(
                f"the checkpoint is of another classifier than the settings say: {first_line(err)}"
            ) from err
        self.step = state["step"] * state["step_clips"] // self.step_clips

    # --- Training ----------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.total_steps

    def run(self) -> FinetuneResult:
        """Train to the end and test in all views; a signal stops the training, and a checkpoint is saved.

        Raises:
            NonFiniteError: If a number is NaN or infinite, see `tats_gym.train.nonfinite`; the last checkpoint is kept.
        """
        accuracy = None
        self._log = self._open_log()
        try:
            with stop_on_signal(self._request_stop):
                self._train()
                self.save()
                exit_code = maximum(self._stop, self.ranks.device)
            if not exit_code:
                self.train.close()  # ends its workers before the test starts its own
                step = self._load_best() if self.config.test_checkpoint == "best" else self.step
                accuracy = self.evaluate(self.config.temporal_views, self.config.spatial_views)
                if self.ranks.first:
                    write_test(self.folder, accuracy, self.classes, self.config, step)
        finally:
            self._log.close()
        return FinetuneResult(self.folder, accuracy, self.classes, exit_code)

    def _open_log(self) -> TrainingLog:
        config = self.config
        return TrainingLog(
            self.folder if self.ranks.first else None,
            self.train,
            step_clips=self.step_clips,
            step=self.step,
            total_steps=self.total_steps,
            interval=config.log_interval,
            quiet=config.quiet,
        )

    def _request_stop(self, exit_code: int) -> None:
        self._stop = max(self._stop, exit_code)

    def _train(self) -> None:
        if self.finished:
            return
        coming, stopping = self._next(), 0
        while not stopping:
            loss = self._loss(*coming)
            self.step += 1
            if not self.finished:
                coming = self._next()  # while the device computes this forward pass
            value = mean(loss.detach()).item()
            check_finite("the classifier's loss", value, f"optimiser step {self.optimizer.steps}")
            self.optimizer.step(loss)
            if self._average is not None and self.optimizer.no_pending_gradients:
                self._average.update(self.model)
            self._log.step(
                value,
                learning_rate=self.optimizer.lr.at(self.optimizer.steps),
                epoch=self.step / self.steps_per_epoch,
                grad_norm=self.optimizer.guard.norm,
                skipped_steps=self.optimizer.guard.skipped,
            )
            if self.step % self.steps_per_epoch == 0:
                self._end_epoch(self.step // self.steps_per_epoch)
            if self.finished:
                return
            if self.step % self.config.optim.accumulate == 0:
                stopping = maximum(self._stop, self.ranks.device)

    def _next(self) -> tuple[DeviceCopy, Tensor]:
        batch = self.train.take(self.config.step_clips)
        return DeviceCopy(batch.pixels, self.ranks.device, self._copy_stream), batch.labels

    def _loss(self, clips: DeviceCopy, labels: Tensor) -> Tensor:
        # Every step seeds its own random numbers, so that a resumed run draws the same without a saved state.
        keys = (self.config.seed, self.step, self.ranks.rank)
        torch.manual_seed(int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> 1))
        self.model.train()
        device = self.ranks.device
        rng = np.random.default_rng(keys)
        mixed, targets = mix(clips.get(), labels.to(device), len(self.classes), self.config.mix, rng)
        with autocast(self.config.precision, device):
            logits = self._parallel(mixed)
        return F.cross_entropy(logits.float(), targets)

    def _end_epoch(self, epoch: int) -> None:
        self.save()
        if epoch % self.config.eval_interval == 0:
            accuracy = self.evaluate()
            if self.ranks.first:
                self._best.offer(accuracy.top1, self._classifier_state(self.evaluated))
            self._log.show(f"top-1 {accuracy.top1:.1%}")
            self._log.record("held_out", top1=accuracy.top1, top5=accuracy.top5, broken=accuracy.broken)
            self._log.dump()

    def _load_best(self) -> int:
        """Take the best weights so far, and return their step."""
        state = load_checkpoint(self._best.path)
        self.evaluated.load_state_dict(state["classifier"])
        step: int = state["step"]
        return step

    def evaluate(self, temporal: int = 1, spatial: int = 1) -> Accuracy:
        """Score the held-out videos, see `testing.evaluate`."""
        return evaluate(self.evaluated, self.held_out, self.config, self.ranks, Views(temporal, spatial))

    def close(self) -> None:
        """Stop the worker processes, and release the run's folder."""
        self.train.close()
        self.held_out.close()
        if self._lock is not None:
            self._lock.release()
