"""Reads and checks the description of an encoder in a file: its architecture and geometry."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tats_gym.encoders.names import config_of
from tats_gym.files.config_io import from_plain
from tats_gym.files.messages import shown
from tats_gym.model.videomae import MAEConfig
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.tokens import TokenGrid

MOST_TOKENS = 2**20
"""Most tokens of a clip: no encoder sees nearly as many, and a table of positions for more fills the memory."""


def part_of(contents: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a mapping in a file's contents, {} where it is missing.

    Raises:
        CheckpointError: It is not a mapping of names.
    """
    part = contents.get(name, {})
    if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
        raise CheckpointError(f"its part {name!r} must be an object, got {shown(part)}")
    return part


def weights_of(contents: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """Return a state dict in a file's contents, {} where it is missing.

    Raises:
        CheckpointError: It is not a mapping of names to tensors.
    """
    weights = part_of(contents, name)
    wrong = next((key for key, value in weights.items() if not isinstance(value, Tensor)), None)
    if wrong is not None:
        raise CheckpointError(f"{shown(wrong)} in its part {name!r} must be a tensor, got {shown(weights[wrong])}")
    return weights


def described(config: Any, grid: Any, weights: Mapping[str, Tensor]) -> tuple[MAEConfig, TokenGrid]:
    """Build architecture and geometry from their recorded values.

    Raises:
        CheckpointError: The values are damaged, or do not fit the weights.
    """
    try:
        built = from_plain(MAEConfig, config, "mae"), from_plain(TokenGrid, grid, "grid")
    except (TypeError, ValueError) as err:
        raise CheckpointError(f"what is recorded of its architecture is not understood: {err}") from err
    found = read_config(weights, built[0].num_heads)
    for name in ("embed_dim", "depth"):
        if getattr(found, name) != getattr(built[0], name):
            raise CheckpointError(
                f"{name} is recorded as {getattr(built[0], name)}, its weights have {getattr(found, name)}"
            )
    return built[0], small_enough(built[1])


def read_config(weights: Mapping[str, Tensor], num_heads: int | None) -> MAEConfig:
    """Read the architecture off the weights, see `config_of`.

    Raises:
        CheckpointError: They are not an encoder's.
    """
    try:
        return config_of(weights, num_heads)
    except ValueError as err:
        raise CheckpointError(str(err)) from err


def grid_of(frames: int, size: int, tubelet_size: int, patch_size: int) -> TokenGrid:
    """Make a grid from a geometry; its K has no meaning.

    Raises:
        CheckpointError: The numbers do not fit together.
    """
    try:
        grid = TokenGrid(frames=frames, size=size, tubelet_size=tubelet_size, patch_size=patch_size, visible=1)
    except ValueError as err:
        raise CheckpointError(f"the geometry does not fit its patch embedding: {err}") from err
    return small_enough(grid)


def number_of(contents: Mapping[str, Any], name: str, default: int) -> int:
    """Return a number in a config.json, `default` where it is missing.

    Raises:
        CheckpointError: It is not a whole number above 0.
    """
    value = contents.get(name, default)
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{name} must be a whole number above 0, got {shown(value)}")
    return value


def side_of(contents: Mapping[str, Any]) -> int:
    """Read the image size in a config.json, which transformers writes as one number or two.

    Raises:
        CheckpointError: It is not a size, or clips would not be square.
    """
    size = contents.get("image_size", 224)
    if not isinstance(size, list):
        return number_of(contents, "image_size", 224)
    if len(size) != 2 or size[0] != size[1]:
        raise CheckpointError(f"clips must be square, got image_size {shown(size)}")
    return number_of({"image_size": size[0]}, "image_size", 224)


def small_enough(grid: TokenGrid) -> TokenGrid:
    """Return the grid if it has no more than `MOST_TOKENS` tokens.

    Raises:
        CheckpointError: It has more.
    """
    if grid.num_tokens > MOST_TOKENS:
        raise CheckpointError(
            f"a clip must have at most {MOST_TOKENS} tokens, by what is recorded it has {grid.num_tokens}"
        )
    return grid
