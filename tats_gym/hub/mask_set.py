"""A set of masks: the visible tokens of each of many clips, to train or test other models on the same masks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from tats_gym.encoders.weight_files import read_safetensors, write_safetensors
from tats_gym.hub.folder import HubFolder
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.settings.config_io import from_plain
from tats_gym.tokens import TokenGrid

FILE = "masks.safetensors"


class MaskSet(HubFolder):
    """The visible tokens of each clip, by the name of its video.

    Args:
        names: Name of each video, the same on every machine.
        ids_keep: (videos, K) visible tokens of its clip, distinct in each row, numbered frame by frame, row by row.
        grid: The clips' geometry, and K.
        origin: Data, window and agent, for the record.

    Raises:
        ValueError: If numbers of names and masks differ, a name occurs twice, or a row is no K distinct tokens.
    """

    def __init__(self, names: Sequence[str], ids_keep: Tensor, grid: TokenGrid, origin: Mapping[str, Any]) -> None:
        if ids_keep.shape != (len(names), grid.num_visible):
            raise ValueError(
                f"ids_keep must be {grid.num_visible} tokens for each of {len(names)} names, "
                f"got the shape {tuple(ids_keep.shape)}"
            )
        ordered = ids_keep.sort(1).values
        distinct = (ordered[:, 1:] > ordered[:, :-1]).all()
        if not distinct or (len(names) and not 0 <= int(ordered.min()) <= int(ordered.max()) < grid.num_tokens):
            raise ValueError(f"each row of ids_keep must be distinct tokens in [0, {grid.num_tokens})")
        self.names, self.grid, self.origin = tuple(names), grid, dict(origin)
        self.ids_keep = ids_keep.long()
        self._rows = {name: row for row, name in enumerate(self.names)}
        if len(self._rows) != len(self.names):
            raise ValueError(f"names must differ, got {len(self.names)} with {len(self._rows)} different ones")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Tensor:
        """Return the visible tokens (K,) of a video's clip."""
        return self.ids_keep[self._rows[name]]

    def write(self, folder: Path) -> None:
        """Write masks.safetensors: ids in 16 or 32 bits, and the rest in its description."""
        small = torch.int16 if self.grid.num_tokens <= torch.iinfo(torch.int16).max else torch.int32
        description = {"names": self.names, "grid": asdict(self.grid), "origin": self.origin}
        write_safetensors(folder / FILE, {"ids_keep": self.ids_keep.to(small)}, json.dumps(description))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read masks.safetensors."""
        path = folder / FILE
        if not path.is_file():
            raise CheckpointError(f"there is no {FILE} in {folder}")
        file = read_safetensors(path)
        try:
            grid = from_plain(TokenGrid, file.description["grid"], "grid")
            names, origin = file.description["names"], file.description.get("origin", {})
            return cls([str(name) for name in names], file.weights["ids_keep"], grid, origin)
        except (KeyError, TypeError, ValueError) as err:
            raise CheckpointError(f"the masks in {path} do not match their description: {err}") from err
