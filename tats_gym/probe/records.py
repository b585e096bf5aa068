"""Probes of several encoders: their settings, and a record of each result."""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import gymnasium
import tyro

from tats_gym.clips import ClipConfig
from tats_gym.clips.augment import Sampling
from tats_gym.clips.config import Crop, PixelAspect
from tats_gym.clips.decoder import Views
from tats_gym.clips.readers import Reader
from tats_gym.datasets import Split
from tats_gym.encoders.find import EncoderSource
from tats_gym.files.atomic import check_writable, write_whole
from tats_gym.model.encoder import FeatureNorm
from tats_gym.model.videomae import MAE_PRESETS
from tats_gym.probe.attentive_probe import AttentiveProbeConfig
from tats_gym.probe.evaluation import Method, ProbeConfig, evaluate
from tats_gym.probe.features import FeatureConfig, features_of
from tats_gym.probe.knn import KnnConfig
from tats_gym.probe.logistic import LogisticConfig
from tats_gym.probe.sgd import SgdConfig
from tats_gym.provenance import origin
from tats_gym.registration import DEFAULT_ENV, check_env_id
from tats_gym.runs.kinds import kind_hint, refuse_to_replace
from tats_gym.settings.config_io import check_plain
from tats_gym.tokens import TokenGrid


@dataclass(frozen=True, kw_only=True)
class ProbeCommand:
    """The encoders, the clips that they are probed on, and the methods."""

    encoder: tuple[str, ...]
    """Runs, exports, Hugging Face VideoMAE folders, published .pth files, or presets; each a column of the table."""
    env: str = DEFAULT_ENV
    """Environment id of the dataset."""
    method: tuple[Method, ...] = ("logistic", "knn")
    """logistic: regression to convergence. sgd: MAE's recipe. knn: nearest neighbours. attentive: V-JEPA's probe of all
    tokens, which encodes every clip anew in each of its epochs."""
    norm: tuple[FeatureNorm, ...] = ("encoder",)
    """encoder: features after the norm that pre-training ended with. none: before it."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of held-out parts, SGD, windows and a preset's weights; one record each."""
    root: str | None = ClipConfig.root
    """The dataset's folder; None looks below $TATS_GYM_DATA, then in the user's cache."""
    fold: int = ClipConfig.fold
    """One of the three official divisions of UCF101 and HMDB51."""
    test_split: Split = "validation"
    """Part of the dataset on which the accuracy is measured."""
    subset: float | None = ClipConfig.subset
    """Train the probe on this share of every class only, in (0, 1), or on this number of clips of every class."""
    subset_seed: int = ClipConfig.subset_seed
    """Each seed gives another subset."""
    index: str | None = ClipConfig.index
    """Index written by tats-gym prepare: its file or folder, or "none" to read none; None takes the one in the
    dataset's folder, if any."""
    stride: int | None = None
    """Frames from one frame of a clip to the next; by default the environment's."""
    sampling: Sampling = ClipConfig.sampling
    """stride: windows of frames `stride` apart. segments: frames spread over the whole video."""
    antialias: bool = ClipConfig.antialias
    """Weigh all pixels below a new one when a crop is made smaller; off, the nearest four, as VideoMAE tests."""
    pixel_aspect: PixelAspect = ClipConfig.pixel_aspect
    """Pixels that a file says are not square: ignore takes them as square, apply crops the displayed picture."""
    frames: int | None = None
    """Frames in a clip; None takes each encoder's."""
    size: int | None = None
    """Height and width of a clip in pixels; None takes each encoder's."""
    interpolate: bool = False
    """Interpolate the position embeddings where `frames` or `size` are not the encoder's."""
    reader: Reader = ClipConfig.reader
    """Library that decodes."""
    num_workers: int = ClipConfig.num_workers
    """Processes that decode ahead."""
    max_broken: float = ClipConfig.max_broken
    """Largest share of unreadable videos, in [0, 1], which are left out and counted; above it the probe stops."""
    passes: int = 0
    """Train on this many random windows and crops of each video, drawn once; 0 trains on the centre view."""
    crop: Crop = "random_resized"
    """Crop in these passes."""
    temporal: int = 1
    """Windows of a test video; the probabilities of all its views are averaged."""
    spatial: int = 1
    """Squares of each of these windows."""
    out: Path | None = None
    """File of the records, JSON; None writes none."""
    add: tuple[Path, ...] = ()
    """Records of earlier probes that join the table."""
    features: tyro.conf.OmitArgPrefixes[FeatureConfig] = field(default_factory=FeatureConfig)
    logistic: LogisticConfig = field(default_factory=LogisticConfig)
    sgd: SgdConfig = field(default_factory=SgdConfig)
    knn: KnnConfig = field(default_factory=KnnConfig)
    attentive: AttentiveProbeConfig = field(default_factory=AttentiveProbeConfig)

    def __post_init__(self) -> None:
        check_plain(self)
        check_env_id("--env", self.env)
        for name in ("encoder", "method", "norm", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"--{name} needs at least one value")
        if self.settings["data"] == "folder":
            raise ValueError(
                "--env must name a dataset with classes, got TatsMask-folder-v0, which has none; "
                "write `path label` lines and take TatsMask-list-v0"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the environment that the id names."""
        return gymnasium.spec(self.env).kwargs

    @property
    def clips(self) -> ClipConfig:
        """The training clips."""
        shared = {each.name for each in fields(ClipConfig)} & {each.name for each in fields(self)}
        values = {name: getattr(self, name) for name in shared}
        if self.stride is None:
            values["stride"] = self.settings["stride"]
        return ClipConfig(data=self.settings["data"], **values)

    @property
    def grid(self) -> TokenGrid:
        """The geometry for presets, which have none of their own."""
        asked = {name: getattr(self, name) or self.settings.get(name) for name in ("frames", "size")}
        changes = {name: value for name, value in asked.items() if value is not None}
        return TokenGrid(**changes, visible=1)  # K does not count here

    @property
    def probe(self) -> ProbeConfig:
        """The settings of each method."""
        return ProbeConfig(logistic=self.logistic, sgd=self.sgd, knn=self.knn, attentive=self.attentive)

    def records(self) -> Iterator[dict[str, Any]]:
        """Probe every encoder with every norm, seed and method.

        Without passes, a run's features do not depend on the seed and are computed once.
        """
        test = replace(self.clips.held_out, split=self.test_split)
        for name in self.encoder:
            for norm in self.norm:
                for seed in self.seeds:
                    source = self.find(name, seed)
                    encoder = source.build(norm=norm)
                    train = features_of(encoder, self.clips, self.features, passes=self.passes, seed=seed)
                    tested = features_of(encoder, test, self.features, views=Views(self.temporal, self.spatial))
                    for method in self.method:
                        result = evaluate(method, train, tested, self.probe, seed=seed)
                        yield {
                            "encoder": source.origin,
                            "data": self.clips.data,
                            "fold": self.fold,
                            "subset": self.subset,
                            "test_split": self.test_split,
                            "stride": self.clips.stride,
                            "sampling": self.sampling,
                            "views": [self.temporal, self.spatial],
                            "pool": "tokens" if method == "attentive" else self.features.pool,
                            "norm": norm,
                            "seed": seed,
                            **result.as_dict(),
                            "settings": asdict(getattr(self.probe, method)),
                            "features": [train.key, tested.key],
                        }

    def find(self, name: str, seed: int) -> EncoderSource:
        """Find an encoder at its own geometry, or at that of `frames` and `size`."""
        if name in MAE_PRESETS:
            return EncoderSource.find(name, self.grid, seed=seed)
        source = EncoderSource.find(name)
        asked = {name: value for name, value in (("frames", self.frames), ("size", self.size)) if value is not None}
        if not asked:
            return source
        return EncoderSource.find(name, replace(source.grid, **asked), interpolate=self.interpolate)


def line_of(record: dict[str, Any]) -> str:
    """Describe a record in one line."""
    low, high = record["top1_interval"]
    method = record["method"]
    if method == "knn":
        method = f"knn, k {record['fitted']['k']}"
    lost = record["unreadable_train"] + record["unreadable_test"]
    return (
        f"{record['encoder']['path']}: {method}, norm {record['norm']}, seed {record['seed']}: "
        f"top-1 {record['top1']:.2%} [{low:.2%}, {high:.2%}] on {record['num_test']} clips, chance "
        f"{record['chance']:.2%}; {record['num_train']} training clips, {lost} videos unreadable; "
        f"RankMe {record['rankme']:.1f}"
    )


def run_probes(command: ProbeCommand, arguments: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Run the probes; yield the record of each, after writing all records so far.

    Args:
        command: The probes, and the file of the records.
        arguments: Arguments of the command line, for that file.
    """
    if command.out is not None:
        refuse_to_replace(command.out, "--out", b"{")
        check_writable(command.out)
    records = []
    for record in command.records():
        records.append(record)
        if command.out is not None:
            write_records(command.out, records, arguments)
        yield record


def write_records(path: Path, records: list[dict[str, Any]], arguments: Sequence[str]) -> None:
    """Write records with the command, commit, date and versions that made them."""
    command = shlex.join(["tats-gym", "probe", *arguments])
    made = {name: value for name, value in origin().items() if name != "machine"}
    write_whole(path, json.dumps({"command": command, **made, "records": records}, indent=1) + "\n")


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the records that `write_records` wrote."""
    if not path.is_file():
        raise FileNotFoundError(f"--add must name a file that tats-gym probe --out wrote, got {path}{kind_hint(path)}")
    try:
        records: list[dict[str, Any]] = json.loads(path.read_bytes())["records"]
    except (ValueError, TypeError, KeyError) as err:
        raise ValueError(f"--add: {path} holds no records of tats-gym probe ({err!r}){kind_hint(path)}") from err
    return records
