"""Reads and checks the description of an encoder in a file: its architecture and geometry."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tats_gym.encoders.names import infer_config
from tats_gym.encoders.weight_files import read_json
from tats_gym.messages import brief
from tats_gym.model.videomae import MAEConfig
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.settings.config_io import from_plain
from tats_gym.tokens import TokenGrid

MAX_TOKENS = 2**20
"""Most tokens of a clip: no encoder sees nearly as many, and a table of embeddings for more fills the memory."""


ClipShape = tuple[int, int]
"""Frames of a clip, and pixels of its side."""
PUBLISHED_CLIPS: ClipShape = (16, 224)
"""The clips of published files that do not give a shape."""


def clips_of_command_line(contents: Mapping[str, Any]) -> ClipShape | None:
    """Read the clips' shape from the command line in a published file; None if there is none in it."""
    args = contents.get("args")
    given = vars(args) if isinstance(args, Namespace) else {}
    numbers = [given.get("num_frames"), given.get("num_segments", 1), given.get("input_size")]
    whole = [number for number in numbers if type(number) is int and number > 0]
    return (whole[0] * whole[1], whole[2]) if whole == numbers else None


def read_mapping(contents: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a mapping in a file's contents, {} where it is missing.

    Raises:
        CheckpointError: If it is not a mapping of names.
    """
    part = contents.get(name, {})
    if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
        raise CheckpointError(f"its part {name!r} must be an object, got {brief(part)}")
    return part


def read_state_dict(contents: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """Return a state dict in a file's contents, {} where it is missing.

    Raises:
        CheckpointError: If it is not a mapping of names to tensors.
    """
    weights = read_mapping(contents, name)
    wrong = next((key for key, value in weights.items() if not isinstance(value, Tensor)), None)
    if wrong is not None:
        raise CheckpointError(f"{brief(wrong)} in its part {name!r} must be a tensor, got {brief(weights[wrong])}")
    return weights


def classifier_weights(contents: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the classifier in a fine-tuning's checkpoint: the average of its weights if there is one.

    Raises:
        CheckpointError: If it is not a mapping of names to tensors.
    """
    return read_state_dict(contents, "ema" if "ema" in contents else "classifier")


def finetuned_weights(contents: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the encoder's weights, without a last norm, in a fine-tuning's checkpoint; see `classifier_weights`."""
    weights = classifier_weights(contents)
    return {name.removeprefix("video."): each for name, each in weights.items() if name.startswith("video.")}


def run_origin(path: Path, state: Mapping[str, Any], grid: TokenGrid) -> dict[str, Any]:
    """Return the origin of the weights in a pre-training's checkpoint, as far as it is recorded."""
    settings, folder = read_mapping(state, "config"), path.absolute().parent.parent
    record = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    recorded = {
        "run": folder.name,
        "data": read_mapping(settings, "clips").get("data"),
        "agent": settings.get("agent"),
        "mask_ratio": grid.mask_ratio if grid.visible is None else round(grid.num_hidden / grid.num_tokens, 4),
        "epochs": read_mapping(settings, "mae_optim").get("epochs"),
        "masks_seen": state.get("step"),
        "seed": settings.get("seed"),
        "commit": record.get("commit"),
    }
    return {name: value for name, value in recorded.items() if value is not None}


def parse_description(config: Any, grid: Any, weights: Mapping[str, Tensor]) -> tuple[MAEConfig, TokenGrid]:
    """Build architecture and geometry from their recorded values.

    Raises:
        CheckpointError: If the values are damaged, or do not fit the weights.
    """
    try:
        built = from_plain(MAEConfig, config, "mae"), from_plain(TokenGrid, grid, "grid")
    except (TypeError, ValueError) as err:
        raise CheckpointError(f"its recorded architecture is not valid: {err}") from err
    sizes = checked_config(weights, built[0].num_heads)
    for name in ("embed_dim", "depth"):
        if getattr(sizes, name) != getattr(built[0], name):
            raise CheckpointError(
                f"{name} is recorded as {getattr(built[0], name)}, its weights have {getattr(sizes, name)}"
            )
    return built[0], check_num_tokens(built[1])


def parse_mae_config(config: Any, origin: str) -> MAEConfig:
    """Build an MAE's settings from their recorded values.

    Raises:
        CheckpointError: If they are no valid settings.
    """
    try:
        return from_plain(MAEConfig, config, "mae")
    except (TypeError, ValueError) as err:
        raise CheckpointError(f"the MAE in {origin} has no valid description: {err}") from err


def checked_config(weights: Mapping[str, Tensor], num_heads: int | None) -> MAEConfig:
    """Read the architecture off the weights, see `infer_config`.

    Raises:
        CheckpointError: If they are not an encoder's.
    """
    try:
        return infer_config(weights, num_heads)
    except ValueError as err:
        raise CheckpointError(str(err)) from err


def build_grid(frames: int, size: int, tubelet_size: int, patch_size: int) -> TokenGrid:
    """Make a grid from a geometry; its K has no meaning.

    Raises:
        CheckpointError: If the numbers do not fit together.
    """
    try:
        grid = TokenGrid(frames=frames, size=size, tubelet_size=tubelet_size, patch_size=patch_size, visible=1)
    except ValueError as err:
        raise CheckpointError(f"the geometry does not fit its patch embedding: {err}") from err
    return check_num_tokens(grid)


def read_number(contents: Mapping[str, Any], name: str, default: int) -> int:
    """Return a number in a config.json, `default` where it is missing.

    Raises:
        CheckpointError: If it is not a whole number above 0.
    """
    value = contents.get(name, default)
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{name} must be a whole number above 0, got {brief(value)}")
    return value


def read_image_size(contents: Mapping[str, Any]) -> int:
    """Read the image size in a config.json, which transformers writes as one number or two.

    Raises:
        CheckpointError: If it is not a size, or clips would not be square.
    """
    size = contents.get("image_size")
    if isinstance(size, list):
        if len(size) != 2 or size[0] != size[1]:
            raise CheckpointError(f"clips must be square, got image_size {brief(size)}")
        contents = {"image_size": size[0]}
    return read_number(contents, "image_size", PUBLISHED_CLIPS[1])


def check_num_tokens(grid: TokenGrid) -> TokenGrid:
    """Return the grid if it has no more than `MAX_TOKENS` tokens.

    Raises:
        CheckpointError: If it has more.
    """
    if grid.num_tokens > MAX_TOKENS:
        raise CheckpointError(
            f"a clip must have at most {MAX_TOKENS} tokens, by its recorded geometry it has {grid.num_tokens}"
        )
    return grid
