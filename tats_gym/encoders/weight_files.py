"""Reads and writes weight files, torch or safetensors, whole or sharded, without running code in them."""

import argparse
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tats_gym.encoders.checksums import verify_checksum
from tats_gym.files.text import parse_json
from tats_gym.messages import brief, listed
from tats_gym.runs.checkpoint import PATTERN, CheckpointError, latest_checkpoint, load_checkpoint

DESCRIPTION = "tats_gym"
"""Key of the description, in JSON, of the weights in our files."""

STATE_DICT_KEYS = ("model", "module", "state_dict", "model_state_dict")
HF_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


WEIGHT_FILES = ("*.safetensors", "*.pth", "*.pt")


@dataclass(frozen=True)
class WeightFile:
    """The weights in a file, and their description."""

    weights: dict[str, Tensor]
    """By their names in the file."""
    description: dict[str, Any] = field(default_factory=dict)
    """The description in our files; empty for others."""


def refuse_own_mae(contents: Mapping[str, Any], origin: str) -> None:
    """Refuse a run whose MAE another package made, where one of this package's architecture is wanted.

    Raises:
        CheckpointError: If it is one; the message says where its weights are.
    """
    if "own_mae" in contents:
        raise CheckpointError(
            f"{origin} is a run with --own-mae {contents['own_mae']}, which is not of this package's architecture: "
            "tats-gym train takes it with --init-mae and the same --own-mae; its weights, for load_state_dict, are "
            "tats_gym.runs.checkpoint.load_checkpoint(RUN)['mae']"
        )


def file_in(folder: Path) -> Path:
    """Find a run's newest checkpoint, or the folder's only file of weights.

    Raises:
        CheckpointError: If there is none, or there are several files.
    """
    if any(folder.glob(PATTERN)) or (folder / "checkpoints").is_dir():
        return latest_checkpoint(folder)
    files = sorted(path for pattern in WEIGHT_FILES for path in folder.glob(pattern))
    if len(files) != 1:
        names = ", ".join(path.name for path in files)
        raise CheckpointError(
            f"several files of weights, name one of them: {names}"
            if files
            else "there is no checkpoint and no file of "
            f"weights ({', '.join(WEIGHT_FILES)}, or config.json beside {HF_FILES[0]})"
        )
    return files[0]


def read_safetensors(path: Path) -> WeightFile:
    """Read a safetensors file.

    Raises:
        CheckpointError: If it is not safetensors, is cut short, or does not match SHA256SUMS beside it.
    """
    verify_checksum(path)
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict
            metadata = file.metadata() or {}
    except SafetensorError as err:
        raise CheckpointError(f"{path} is not a complete safetensors file: {brief(str(err))}") from err
    return WeightFile(weights, _description_in(metadata.get(DESCRIPTION), path))


def write_safetensors(path: Path, weights: dict[str, Tensor], description: str) -> None:
    """Write a safetensors file with a description of the weights, in JSON, in its metadata.

    Raises:
        OSError: If the disk is full, or the folder cannot be written.
    """
    path.write_bytes(save(weights, {"format": "pt", DESCRIPTION: description}))  # of save_file only the owner can read


def read_torch(path: Path) -> dict[str, Any]:
    """Read a torch file; argparse.Namespace is allowed in it, as published files hold their command lines.

    Raises:
        CheckpointError: If the file is incomplete, or holds other objects than plain values and tensors.
    """
    verify_checksum(path)
    return load_checkpoint(path, allow=(argparse.Namespace,))


def state_dict_of(contents: dict[str, Any], path: Path) -> WeightFile:
    """Find the state dict in a torch file's contents: at the top, or under `model` or `module` as VideoMAE stores it.

    Raises:
        CheckpointError: If there is none.
    """
    state_dict = next((contents[key] for key in STATE_DICT_KEYS if isinstance(contents.get(key), dict)), contents)
    weights = {name: value for name, value in state_dict.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not weights:
        raise CheckpointError(
            f"{path} holds no state dict, neither as it is nor under {', '.join(STATE_DICT_KEYS)}; "
            f"it has {', '.join(map(str, list(contents)[:6])) or 'nothing'}"
        )
    return WeightFile(weights, _description_in(contents.get(DESCRIPTION), path))


def read_hf(folder: Path) -> WeightFile:
    """Read the weights of a Hugging Face folder, from one file or several.

    Raises:
        CheckpointError: If there are none, or a shard is missing.
    """
    path = next((folder / name for name in HF_FILES if (folder / name).is_file()), None)
    if path is None:
        raise CheckpointError(f"{folder} holds no weights: there is none of {', '.join(HF_FILES)}")
    if path.suffix != ".json":
        return _read(path)
    shards = read_json(path).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise CheckpointError(f"{path} must say under 'weight_map' in which file each weight is, got {brief(shards)}")
    weights: dict[str, Tensor] = {}
    for shard in sorted(set(shards.values())):
        if Path(shard).name != shard or not os.path.isfile(folder / shard):
            raise CheckpointError(f"{path} names {brief(shard)}, which is missing there")
        weights |= _read(folder / shard).weights
    return WeightFile(weights)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: If it is not a JSON object, or does not match SHA256SUMS beside it.
    """
    verify_checksum(path)
    try:
        contents = parse_json(path.read_bytes(), str(path))
    except ValueError as err:
        raise CheckpointError(f"not a JSON file: {err}") from err
    if not isinstance(contents, dict):
        raise CheckpointError(f"{path} holds a {type(contents).__name__}, not an object")
    return contents


def check_weights(
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    optional: Collection[str] = (),
    hints: Mapping[str, str] | None = None,
) -> None:
    """Check the names, shapes and values of weights against a network's own.

    Args:
        weights: The weights to check.
        wanted: The network's own, for names and shapes; they may be on the meta device.
        optional: Names that may be missing.
        hints: Text by name, for messages, after the shape that the weight must have.

    Raises:
        CheckpointError: If one is missing, unknown, of another shape, or not finite.
    """
    missing = [name for name in wanted if name not in weights and name not in optional]
    if missing:
        raise CheckpointError(f"weights are missing: {listed(missing)}; the file may be cut short, or of another model")
    unknown = [name for name in weights if name not in wanted]
    if unknown:
        raise CheckpointError(f"weights of another architecture, which this one has no place for: {listed(unknown)}")
    for name, value in weights.items():
        if value.shape != wanted[name].shape:
            hint = (hints or {}).get(name, "")
            raise CheckpointError(
                f"{name} must have the shape {tuple(wanted[name].shape)}{hint}, got {tuple(value.shape)}"
            )
        if not torch.isfinite(value).all():
            raise CheckpointError(
                f"{name} holds numbers that are not finite; the file is damaged, or its training failed"
            )


def _read(path: Path) -> WeightFile:
    return read_safetensors(path) if path.suffix == ".safetensors" else state_dict_of(read_torch(path), path)


def _description_in(text: Any, path: Path) -> dict[str, Any]:
    """Parse the description in a file."""
    if text is None:
        return {}
    try:
        description = parse_json(text, f"the description in {path}, its entry {DESCRIPTION!r}")
    except (TypeError, ValueError) as err:
        raise CheckpointError(f"no encoder is described by {path}: {err}") from err
    if not isinstance(description, dict):
        raise CheckpointError(f"the description in {path} holds a {type(description).__name__}, not an object")
    return description
