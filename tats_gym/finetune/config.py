"""Settings of fine-tuning, and a preset for each dataset."""

import os
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, Self

import tyro

from tats_gym.clips import ClipConfig
from tats_gym.datasets import DATASETS
from tats_gym.encoders.head import HeadConfig
from tats_gym.finetune.mixing import MixConfig
from tats_gym.messages import check_choice
from tats_gym.model.pooling import POOLS, Pool
from tats_gym.model.videomae import MAE_PRESETS
from tats_gym.registration import DEFAULT_ENV, check_env_id, data_of
from tats_gym.settings.config_io import check_plain, from_plain
from tats_gym.settings.intervals import SEEDS, check_intervals
from tats_gym.settings.paths import absolute, make_paths_absolute
from tats_gym.train.optimizer import OptimConfig
from tats_gym.train.precision import AUTO, Precision

RANDAUG = "rand-m9-n2-mstd0.5-inc1"
"""Table 4's "RandAug 9, 0.5" in timm's notation: two operations, magnitude 9, standard deviation 0.5."""


@dataclass(frozen=True, kw_only=True)
class FinetuneOptimConfig(OptimConfig):
    """Settings of the classifier's optimiser; the defaults are Table 4's, and VideoMAE's where it has none."""

    epochs: int = 100
    """Passes over the training videos; also the length of the cosine."""
    warmup_epochs: int = 5
    """Epochs over which the learning rate rises linearly; below `epochs`."""
    base_lr: float = 1e-3
    """Learning rate of the head for a batch of 256 videos; scaled linearly with the real batch. As published, the
    `repeats` clips of a video count once."""
    min_lr: float = 1e-6
    """Learning rate at the end of the cosine, for a batch of 256 videos; scaled too."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates."""
    layer_decay: float = 0.75
    """Factor of the learning rate from one layer to the one below it, in (0, 1]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_intervals(self, layer_decay="(0, 1]")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """One fine-tuning of an encoder on a labelled dataset."""

    encoder: Annotated[str, tyro.conf.arg(help_behavior_hint="(required unless --resume)")]
    """The encoder: a run, an export, a Hugging Face VideoMAE folder, a published .pth file, or a preset's name (tiny,
    small, base, large) to start from scratch."""
    env: str = DEFAULT_ENV
    """Environment id of the dataset."""
    frames: int | None = None
    """Frames in a clip; None takes the encoder's."""
    size: int | None = None
    """Height and width of a clip in pixels; None takes the encoder's."""
    interpolate: bool = False
    """Interpolate the position embeddings where `frames` or `size` are not the encoder's."""
    scratch: bool = False
    """Draw the encoder's weights anew from `seed`: the same architecture without pre-training, as a baseline."""
    test_only: bool = False
    """Test the classifier in `encoder` (a fine-tuned run, its export, a published fine-tuned file) on the held-out
    videos, without training."""
    pool: Pool = "mean"
    """The classifier's input. mean: of all tokens, as in VideoMAE. Ours: frames, the mean of each tubelet, which keeps
    their order; change, the standard deviation over time; tokens, all tokens."""
    ema: float | None = None
    """Decay of an exponential moving average of the weights at every optimiser step, in (0, 1), which is then the
    classifier that is evaluated, tested and exported; None keeps none. VideoMAE offers 0.9999, off by default."""
    batch_size: int = 8
    """Videos in a step of one rank, of each of which it takes `repeats` clips, as VideoMAE's num_sample: with more
    repeats an epoch has as many steps, of more clips, at the same learning rate."""
    drop_path: float = 0.1
    """Drop rate of the residual branches in the last block; it rises linearly over the blocks."""
    seed: int = 0
    """Seed of the head, clips, crops, mixing and drop path."""
    device: str = AUTO
    """auto takes CUDA where it is available."""
    precision: Precision = AUTO
    """auto takes bf16 on a GPU that supports it."""
    out: str = "runs"
    """Folder in which the run's own folder is made."""
    eval_interval: int = 1
    """Epochs between evaluations on the held-out videos, in one view."""
    test_checkpoint: Literal["last", "best"] = "last"
    """The weights of the final test: the last, as published, or those with the highest held-out top-1, best.pt. The
    held-out videos that choose the best are those of the test."""
    temporal_views: int = HeadConfig.temporal_views
    """Windows of each video in the final test."""
    spatial_views: int = HeadConfig.spatial_views
    """Squares of each window in the final test."""
    test_batch_size: int = 4
    """Videos in one forward pass of the test, with all their views."""
    log_interval: int = 10
    """Steps between lines of the log."""
    keep_checkpoints: int = 2
    """Number of the newest checkpoints to keep; one is written per epoch."""
    quiet: bool = False
    """Print a line every ten minutes instead of a progress bar."""
    clips: tyro.conf.OmitArgPrefixes[ClipConfig] = field(default_factory=ClipConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    optim: FinetuneOptimConfig = field(default_factory=FinetuneOptimConfig)

    def __post_init__(self) -> None:
        check_plain(self)
        if self.encoder not in MAE_PRESETS and os.path.exists(absolute(self.encoder)):
            make_paths_absolute(self, "encoder")
        check_env_id("env", self.env)
        check_choice("pool", self.pool, POOLS)
        if self.test_only and (self.scratch or self.test_checkpoint == "best"):
            raise ValueError("test_only tests the weights in encoder: leave scratch and test_checkpoint out")
        if self.clips.data != data_of(self.env):
            raise ValueError(f"{self.env} reads {data_of(self.env)!r}, but clips.data is {self.clips.data!r}")
        counts = ("batch_size", "eval_interval", "temporal_views", "spatial_views", "test_batch_size", "log_interval")
        check_intervals(self, **dict.fromkeys((*counts, "keep_checkpoints"), "[1, inf)"), seed=SEEDS, ema="(0, 1)")
        if self.test_checkpoint == "best" and self.eval_interval > self.optim.epochs:
            raise ValueError(
                f"test_checkpoint best needs an evaluation: eval_interval must be at most optim.epochs "
                f"{self.optim.epochs}, got {self.eval_interval}"
            )

    @property
    def step_clips(self) -> int:
        """Clips in a step of one rank."""
        return self.batch_size * self.clips.repeats

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build the settings from the values of `as_dict`, as `from_plain` does.

        Raises:
            TypeError: If a setting is unknown, missing, or of another type; the message names it.
            ValueError: If a setting is out of its range.
        """
        return from_plain(cls, values)


def finetune_preset(env_id: str, encoder: str) -> FinetuneConfig:
    """Return the recipe for an id: Table 4's, with VideoMAE's settings for its dataset; for demo a small one.

    VideoMAE's script of Table 4's batch, learning rate and epochs (K400, after 800 epochs of pre-training) takes one
    clip of a video; two are for other batches and learning rates.

    Raises:
        ValueError: If the id is unknown, or its dataset has no labels.
    """
    check_env_id("--env", env_id)
    data = data_of(env_id)
    if data == "demo":
        return _demo_preset(encoder)
    dataset = DATASETS[data]
    if not dataset.labelled:
        raise ValueError(f"{env_id} has no labels to learn; name the classes in a list, see TatsMask-list-v0")
    clips = ClipConfig(
        data=data,
        stride=dataset.stride,
        sampling=dataset.finetune_sampling,
        crop="random_resized",
        crop_scale=0.08,
        randaug=RANDAUG,
        erase=0.25,
        flip=bool(dataset.flip_keeps_class),
        antialias=False,
        num_workers=8,
    )
    return FinetuneConfig(encoder=encoder, env=env_id, clips=clips, temporal_views=dataset.finetune_views)


def _demo_preset(encoder: str) -> FinetuneConfig:
    """Return a recipe of minutes on two cores, without mixing."""
    return FinetuneConfig(
        encoder=encoder,
        env=DEFAULT_ENV,
        batch_size=16,
        drop_path=0.0,
        eval_interval=5,
        temporal_views=1,
        spatial_views=1,
        test_batch_size=42,
        clips=ClipConfig(data="demo", antialias=False, cache_mib=1024),
        mix=MixConfig(mixup=0.0, cutmix=0.0),
        optim=FinetuneOptimConfig(epochs=60, base_lr=0.016, layer_decay=1.0),
    )
