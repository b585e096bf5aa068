"""Finds an encoder: in a run, an export or a published VideoMAE, or by a preset's name."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

from tats_gym.encoders.decoder import DecoderSource
from tats_gym.encoders.description import (
    PUBLISHED_CLIPS,
    ClipShape,
    build_grid,
    checked_config,
    classifier_weights,
    clips_of_command_line,
    finetuned_weights,
    parse_description,
    read_image_size,
    read_mapping,
    read_number,
    read_state_dict,
    run_origin,
)
from tats_gym.encoders.head import HEAD_NAMES, Head, check_head, hf_head_settings, read_head, run_head_settings
from tats_gym.encoders.names import check_encoder_weights, has_biases, kernel_of, our_names, with_zero_biases
from tats_gym.encoders.pos_embed import fit_pos_embed
from tats_gym.encoders.shipped import MAE_NAMES, SHIPPED
from tats_gym.encoders.weight_files import (
    HF_FILES,
    WeightFile,
    file_in,
    read_hf,
    read_json,
    read_safetensors,
    read_torch,
    refuse_own_mae,
    state_dict_of,
)
from tats_gym.messages import brief, did_you_mean
from tats_gym.model.classifier import VideoClassifier
from tats_gym.model.encoder import FeatureNorm, VideoEncoder, encoder_weights, load_encoder_weights
from tats_gym.model.target import PIXELS
from tats_gym.model.videomae import MAE_PRESETS, MAEConfig
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.runs.kinds import ENCODER, FINETUNING, MAE, PRETRAINING, check_kind
from tats_gym.tokens import TokenGrid


@dataclass(frozen=True)
class EncoderSource:
    """An encoder's architecture, geometry, weights and origin."""

    config: MAEConfig
    """Widths and depths; those of its decoder are `decoder.sizes`."""
    grid: TokenGrid
    """Geometry of the position embeddings."""
    weights: dict[str, Tensor]
    """float32, under the names of `VideoEncoder`; those of the last norm may be missing."""
    origin: dict[str, Any]
    """`path` and `kind` (run, hf, file or preset), and as far as known `run`, `data`, `agent`, `mask_ratio`, `epochs`
    (as set for the run), `masks_seen`, `seed`, `commit`."""
    decoder: DecoderSource | None = None
    """The decoder that the encoder was trained with, if the source has it."""
    head: Head | None = None
    """The classifier on it, in fine-tuned sources."""

    @classmethod
    def find(
        cls,
        name: str | Path,
        grid: TokenGrid | None = None,
        *,
        interpolate: bool = False,
        seed: int | None = None,
        source_grid: TokenGrid | None = None,
        num_heads: int | None = None,
    ) -> Self:
        """Look `name` up among presets and shipped MAEs, then on disk.

        Args:
            name: A preset; "demo" or "frozen" (shipped); a run's folder or checkpoint; an export; a Hugging Face
                VideoMAE folder; or a published VideoMAE or AdaMAE file, pre-trained or fine-tuned.
            grid: Geometry of the clips that it will encode; None takes the source's.
            interpolate: Interpolate the position embeddings where `grid` has other frames or another size.
            seed: Seed of a preset's weights.
            source_grid: Geometry for files without a description; by default that of the command line in a published
                file, else 16 frames of 224 x 224.
            num_heads: Heads for files without a description; by default as published for the width, else 64 wide.

        Raises:
            ValueError: If the name is unknown, or the geometry differs from `grid`.
            CheckpointError: If the file is damaged, or holds no encoder of this architecture.
        """
        if str(name) in MAE_PRESETS:
            return cls._preset(str(name), grid, seed)
        path = SHIPPED.get(str(name)) or Path(name).expanduser()
        if not path.exists():
            siblings = [str(path.parent / p.name) for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise ValueError(
                f"encoder must be one of {', '.join(MAE_NAMES)}, or a path that exists; "
                f"got {str(name)!r}{did_you_mean(str(path), [*MAE_NAMES, *siblings])}"
            )
        try:
            source = cls._read(path, source_grid, num_heads)
        except CheckpointError as err:
            raise CheckpointError(f"no encoder in {path}: {err}") from err
        return source if grid is None else source._at(grid, interpolate)

    def build(self, *, norm: FeatureNorm = "encoder", drop_path: float = 0.0) -> VideoEncoder:
        """Make the encoder, see `VideoEncoder`; the global random state is left alone.

        Raises:
            ValueError: If `norm` is "encoder", but the source has no norm.
        """
        self.check_norm(norm)
        with torch.random.fork_rng(devices=[]):
            encoder = VideoEncoder(self.config, self.grid, norm=norm, drop_path=drop_path)
        load_encoder_weights(encoder, self.weights)
        return encoder

    def build_classifier(self) -> VideoClassifier:
        """Make the fine-tuned classifier; the global random state is left alone.

        Raises:
            CheckpointError: If the source has none, or the geometry is not that of its pool.
        """
        if self.head is None:
            raise CheckpointError(
                f"there is no classifier in {self.origin.get('path')}: no weights are named {', '.join(HEAD_NAMES)}; "
                "name a fine-tuned run, its export, or a published fine-tuned checkpoint"
            )
        check_head(self.head, self.config, self.grid)
        encoder = self.build(norm="none")
        with torch.random.fork_rng(devices=[]):
            classifier = VideoClassifier(encoder, self.head.num_classes, self.head.config.pool)
        classifier.load_state_dict(classifier.state_dict() | self.head.weights)
        return classifier

    def untrained(self, grid: TokenGrid, seed: int) -> Self:
        """Return the same architecture for a geometry, with weights drawn from a seed."""
        return self._drawn(self.config, grid, seed, {"path": self.origin.get("path"), "kind": "drawn", "seed": seed})

    def check_norm(self, norm: FeatureNorm) -> None:
        """Raise ValueError if `norm` is "encoder", but the source lacks the norm of pre-training."""
        if norm == "encoder" and not self.has_norm:
            raise ValueError(
                f"norm must be 'none' for {self.origin.get('path')}, got 'encoder': it has no encoder.norm, as "
                "fine-tuned encoders have not; their classifier's norm comes after the mean over tokens"
            )

    def pos_embed(self) -> Tensor:
        """Return the position embeddings (L, D)."""
        embeddings: Tensor = self.build(norm="none").pos_embed()
        return embeddings.detach()

    @property
    def shared_origin(self) -> dict[str, Any]:
        """The origin without `path` and `kind`, which hold for this machine and this search only."""
        return {name: value for name, value in self.origin.items() if name not in ("path", "kind")}

    @property
    def part(self) -> Literal["encoder", "classifier"]:
        """The part of a network that the weights are, for the names of files."""
        return "encoder" if self.head is None else "classifier"

    @property
    def has_norm(self) -> bool:
        """Whether the norm of pre-training is among the weights."""
        return "encoder.norm.weight" in self.weights

    @classmethod
    def _preset(cls, name: str, grid: TokenGrid | None, seed: int | None) -> Self:
        """Draw the weights of a preset."""
        if grid is None or seed is None:
            raise ValueError(f"the preset {name!r} needs a grid and a seed: its weights are drawn")
        return cls._drawn(MAE_PRESETS[name], grid, seed, {"path": name, "kind": "preset", "seed": seed})

    @classmethod
    def _drawn(cls, config: MAEConfig, grid: TokenGrid, seed: int, origin: dict[str, Any]) -> Self:
        """Draw the weights of an architecture."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = VideoEncoder(config, grid)
        return cls(config, grid, encoder.state_dict(), origin)

    @classmethod
    def _read(cls, path: Path, source_grid: TokenGrid | None, num_heads: int | None) -> Self:
        """Read the encoder at an existing path."""
        folder = path.parent if path.name in HF_FILES else path
        config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
        if "model_type" in config:
            return cls._from_hf(folder, config)
        check_kind(path, ENCODER, MAE, PRETRAINING, FINETUNING)
        if path.is_dir():
            path = file_in(path)
        clips = (source_grid.frames, source_grid.size) if source_grid else None
        if path.suffix == ".safetensors":
            return cls._from_file(path, read_safetensors(path), clips or PUBLISHED_CLIPS, num_heads)
        contents = read_torch(path)
        refuse_own_mae(contents, str(path))
        if "mae" in contents and "mae_config" in contents:
            return cls._from_run(path, contents)
        if "classifier" in contents and "mae_config" in contents:
            return cls._from_finetuning(path, contents)
        clips = clips or clips_of_command_line(contents) or PUBLISHED_CLIPS
        return cls._from_file(path, state_dict_of(contents, path), clips, num_heads)

    @classmethod
    def _from_run(cls, path: Path, state: dict[str, Any]) -> Self:
        """Read the encoder in a run's checkpoint."""
        settings = read_mapping(state, "config")
        whole = read_state_dict(state, "mae")
        weights = encoder_weights(whole)
        config, grid = parse_description(state["mae_config"], settings.get("grid", {}), weights)
        origin = {"path": str(path), "kind": "run", **run_origin(path, state, grid)}
        decoder = DecoderSource.among(whole, config.decoder_num_heads, state.get("target", PIXELS))
        return cls._checked(config, grid, weights, origin, decoder=decoder)

    @classmethod
    def _from_finetuning(cls, path: Path, state: dict[str, Any]) -> Self:
        """Read the encoder in a fine-tuning's checkpoint."""
        weights, folder = finetuned_weights(state), path.absolute().parent.parent
        config, grid = parse_description(state["mae_config"], state.get("grid"), weights)
        settings = run_head_settings(state, folder)
        head = read_head(classifier_weights(state), settings, config, grid)
        return cls._checked(config, grid, weights, {"path": str(path), "kind": "run", "run": folder.name}, head=head)

    @classmethod
    def _from_hf(cls, folder: Path, config: dict[str, Any]) -> Self:
        """Read the encoder in a Hugging Face folder."""
        if config["model_type"] != "videomae":
            raise CheckpointError(f"its config.json says model_type {brief(config['model_type'])}, not 'videomae'")
        file = read_hf(folder)
        weights, decoder = our_names(file.weights), DecoderSource.of_hf(config, file.weights)
        if not has_biases(config):
            weights = with_zero_biases(weights)
        tubelet, patch = kernel_of(weights)
        grid = build_grid(
            read_number(config, "num_frames", PUBLISHED_CLIPS[0]), read_image_size(config), tubelet, patch
        )
        origin = {**read_mapping(file.description, "origin"), "path": str(folder), "kind": "hf"}
        mae = checked_config(weights, read_number(config, "num_attention_heads", 12))
        head = read_head(file.weights, hf_head_settings(config, file.description), mae, grid)
        return cls._checked(mae, grid, weights, origin, decoder=decoder, head=head)

    @classmethod
    def _from_file(cls, path: Path, file: WeightFile, clips: ClipShape, num_heads: int | None) -> Self:
        """Read the encoder in a single file; its description, if it has one, takes precedence."""
        weights = our_names(file.weights)
        origin = {**read_mapping(file.description, "origin"), "path": str(path), "kind": "file"}
        if file.description:
            config, grid = parse_description(
                file.description.get("config", {}), file.description.get("grid", {}), weights
            )
            config = replace(config, pos_embed=checked_config(weights, config.num_heads).pos_embed)
        else:
            config = checked_config(weights, num_heads)
            grid = build_grid(*clips, *kernel_of(weights))
        decoder = DecoderSource.among(file.weights, config.decoder_num_heads if file.description else None)
        head = read_head(file.weights, read_mapping(file.description, "head"), config, grid)
        return cls._checked(config, grid, weights, origin, decoder=decoder, head=head)

    @classmethod
    def _checked(
        cls,
        config: MAEConfig,
        grid: TokenGrid,
        weights: dict[str, Tensor],
        origin: dict[str, Any],
        *,
        decoder: DecoderSource | None = None,
        head: Head | None = None,
    ) -> Self:
        check_encoder_weights(weights, config, grid)
        return cls(config, grid, weights, origin, decoder, head)

    def _at(self, grid: TokenGrid, interpolate: bool) -> Self:
        """Return the same weights for clips of another geometry."""
        name = str(self.origin.get("path"))
        config, weights = fit_pos_embed(self.config, self.weights, self.grid, grid, interpolate=interpolate, name=name)
        return replace(self, config=config, grid=grid, weights=weights)


def describe(source: EncoderSource) -> str:
    """Return the JSON that `find` reads beside the weights, under the key `weight_files.DESCRIPTION`."""
    head = {} if source.head is None else {"head": asdict(source.head.config)}
    config, grid = asdict(source.config), asdict(source.grid)
    return json.dumps({"config": config, "grid": grid, "origin": source.shared_origin, **head})
