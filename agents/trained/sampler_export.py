"""Exports the sampler of a run as a module that maps clips to visible tokens, without the MAE and the agent."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tats_gym.agents.older_settings import present_sampler_names
from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.policy import SamplerConfig, Trunk
from tats_gym.encoders.checksums import write_checksums
from tats_gym.encoders.description import check_num_tokens
from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.weight_files import check_weights, read_safetensors, read_torch, write_safetensors
from tats_gym.export.loading import RAW
from tats_gym.files.atomic import folder_written_whole
from tats_gym.hub.folder import HubFolder
from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.videomae import MAEConfig
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.runs.kinds import PRETRAINING, check_kind
from tats_gym.settings.config_io import from_plain
from tats_gym.tokens import TokenGrid

FILE = "sampler.safetensors"
EMBEDDING = ("encoder.patch_embed.", "pos_embed.")
"""Beginnings of the names of the MAE's weights that embed tokens."""


class TokenSampler(HubFolder, nn.Module):
    """Maps clips to visible tokens by the MAE's embedding and the actor of `TatsPolicy`, in float32.

    Args:
        mae: The MAE whose tokens the sampler was trained on.
        grid: The clip's geometry, and K.
        sampler: The sampler's architecture.
        origin: The run's record.
    """

    def __init__(
        self, mae: MAEConfig, grid: TokenGrid, sampler: SamplerConfig, origin: Mapping[str, Any] | None = None
    ) -> None:
        nn.Module.__init__(self)
        self.mae, self.grid, self.config, self.origin = mae, grid, sampler, dict(origin or {})
        self.embedding = VideoEncoder(replace(mae, depth=0), grid, norm="none")  # without blocks: the embedding alone
        self.actor = Trunk(sampler, mae.embed_dim, grid.shape)
        self.actor_head = nn.Linear(sampler.width or mae.embed_dim, 1)

    def forward(
        self, clips: Tensor, num_visible: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Choose K tokens of clips (B, C, T, H, W), pixels in [0, 255]: distinct ids (B, K) in int64.

        The most likely tokens in descending order, or with a generator a random draw. K defaults to the run's.
        """
        distribution = self.distribution(clips, num_visible)
        return distribution.mode if generator is None else distribution.sample(generator=generator)

    def distribution(self, clips: Tensor, num_visible: int | None = None) -> PlackettLuce:
        """Return the distribution over masks; `token_log_prob.exp()` are the probabilities (B, L) of the first draw."""
        logits = self.actor_head(self.actor(self.embedding(clips))).squeeze(-1)  # (B, L)
        return PlackettLuce(logits / self.config.temperature, num_visible or self.grid.num_visible)

    def write(self, folder: Path) -> None:
        """Write sampler.safetensors."""
        parts = {"mae": asdict(self.mae), "grid": asdict(self.grid), "sampler": asdict(self.config)}
        write_safetensors(folder / FILE, self.state_dict(), json.dumps({**parts, "origin": self.origin}))

    @classmethod
    def read(cls, folder: Path) -> "TokenSampler":
        """Read sampler.safetensors, see `load_sampler`."""
        return load_sampler(folder)


def export_sampler(run: Path, out: Path) -> list[Path]:
    """Write the sampler of a run's folder or checkpoint into the folder `out`, atomically, with SHA256SUMS.

    Raises:
        ValueError: If the run's agent has no such sampler.
        CheckpointError: If the run is missing or broken.
        FileExistsError: If `out` exists and is not empty.
    """
    check_kind(run, PRETRAINING)
    state = read_torch(run)
    if "mae" not in state or "agent" not in state:
        raise CheckpointError(f"{run} is not a run, and only a run holds a sampler")
    policy = state["agent"].get("policy", {})
    if "actor_head.weight" not in policy:
        agent = state["config"]["agent"]
        raise ValueError(
            f"the agent of {run} must be tats to have a sampler, got {agent!r}, which learns no TatsPolicy"
        )
    source = EncoderSource.find(run)
    embedding = {name: value for name, value in source.weights.items() if name.startswith(EMBEDDING)}
    weights = {f"embedding.{name}": value for name, value in embedding.items()}
    weights |= {name: value for name, value in policy.items() if name.startswith(("actor.", "actor_head."))}
    config = from_plain(SamplerConfig, present_sampler_names(state["config"]["sampler"]), "sampler")
    with torch.random.fork_rng(devices=[]):
        sampler = TokenSampler(source.config, source.grid, config, source.shared_origin)
    sampler.load_state_dict(weights)
    with folder_written_whole(out) as folder:
        sampler.write(folder)
        write_checksums(folder)
    return [out / FILE]


def sampler_loading(file: Path) -> str:
    """Return lines of Python that load an exported sampler and choose tokens with it, and describe their input."""
    return (
        f"load it with, where {RAW}:\n"
        "    from tats_gym.agents.trained.sampler_export import load_sampler\n"
        f"    ids = load_sampler({str(file.parent)!r})(clips)"
    )


def load_sampler(path: str | Path) -> TokenSampler:
    """Load an exported sampler from its folder or file, in evaluation mode.

    Raises:
        CheckpointError: If it is missing or broken.
    """
    path = Path(path) / FILE if Path(path).is_dir() else Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no sampler at {path}")
    file = read_safetensors(path)
    if "sampler" not in file.description:
        raise CheckpointError(f"{path} holds no sampler that this package wrote")
    try:
        mae = from_plain(MAEConfig, file.description["mae"], "mae")
        grid = check_num_tokens(from_plain(TokenGrid, file.description["grid"], "grid"))
        config = from_plain(SamplerConfig, present_sampler_names(file.description["sampler"]), "sampler")
        _check_sizes(mae, grid, config, file.weights)
        with torch.random.fork_rng(devices=[]):
            sampler = TokenSampler(mae, grid, config, file.description.get("origin"))
        sampler.load_state_dict(file.weights)
    except (TypeError, ValueError, KeyError, RuntimeError) as err:
        raise CheckpointError(f"the sampler in {path} does not match its description: {err}") from err
    return sampler.eval()


def _check_sizes(mae: MAEConfig, grid: TokenGrid, config: SamplerConfig, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError or CheckpointError if the weights do not fit the sizes, before allocating memory for these."""
    if config.depth > len(weights):  # each block has some
        raise ValueError(f"sampler.depth is {config.depth}, but there are {len(weights)} weights")
    with torch.device("meta"):
        wanted = TokenSampler(mae, grid, config).state_dict()
    check_weights(weights, wanted)
