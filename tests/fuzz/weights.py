"""Weights, exports and their descriptions: an encoder or a sampler that can be built, or a CheckpointError."""

import io
import json
import random
import struct
import zipfile
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.trained.sampler_export import FILE, TokenSampler, load_sampler
from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.names import hf_names
from tats_gym.encoders.weight_files import DESCRIPTION
from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.tokens import TokenGrid
from tests.fuzz.mutators import BYTES, JSON, Mutation, mutate
from tests.fuzz.target import READ, Target, expect, refused

GRID = TokenGrid(frames=2, size=16, patch_size=8, visible=2)
CONFIG = MAEConfig(
    embed_dim=16, depth=1, num_heads=2, decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2, mlp_ratio=1.0
)
SAMPLER = SamplerConfig(width=8, head_dim=4, mlp_ratio=1.0, pos_embed="learned")
HF_CONFIG = {"model_type": "videomae", "num_frames": 2, "image_size": 16, "num_attention_heads": 2, "qkv_bias": True}


def make_encoders(root: Path) -> None:
    """Write an encoder as a run, an export, a Hugging Face folder and a published file keep it."""
    torch.manual_seed(0)
    mae = MaskedAutoencoder(CONFIG, GRID)
    config = {"agent": "tats", "seed": 3, "clips": {"data": "ssv2"}, "grid": asdict(GRID), "mae_optim": {"epochs": 7}}
    state = {"config": config, "step": 50, "mae": mae.state_dict(), "mae_config": asdict(CONFIG)}
    (root / "run/checkpoints").mkdir(parents=True)
    torch.save(state, root / "run/checkpoints/step-000000000050.pt")
    (root / "run/config.json").write_text(json.dumps({"config": config, "commit": "0" * 40}), encoding="utf-8")
    source = EncoderSource.find(root / "run")
    weights = {name: value.clone() for name, value in source.weights.items()}
    save_file(weights, root / "encoder.safetensors", metadata={DESCRIPTION: describe(source)})
    (root / "hf").mkdir()
    save_file(hf_names(weights), root / "hf/model.safetensors", metadata={"format": "pt"})
    (root / "hf/config.json").write_text(json.dumps(HF_CONFIG), encoding="utf-8")
    published = {name: value for name, value in mae.state_dict().items() if name.startswith("encoder.")}
    torch.save({"model": published, "epoch": 799}, root / "published.pth")


def check_encoder(root: Path, file: Path) -> str:
    """Find an encoder, and use it."""
    path = file.parent.parent if file.parent.name == "checkpoints" else file if file.parent == root else file.parent
    try:
        source = EncoderSource.find(path, num_heads=2, source_grid=GRID)
    except CheckpointError as err:
        return refused(err, (CheckpointError,), file.name, str(path))
    expect(all(torch.isfinite(value).all() for value in source.weights.values()), "a weight is not finite")
    expect(all(value.dtype == torch.float32 for value in source.weights.values()), "a weight is not float32")
    json.dumps(source.origin)
    if source.grid.num_tokens > 64 or source.config.embed_dim > 64 or source.config.depth > 4:
        return "read as a larger one"
    encoder: VideoEncoder = source.build(norm="encoder" if source.has_norm else "none").eval()
    with torch.no_grad():
        encoder(torch.zeros(1, *source.grid.clip_shape))
    return READ


def make_sampler(root: Path) -> None:
    """Write a sampler as it is exported."""
    torch.manual_seed(0)
    description = {"mae": asdict(CONFIG), "grid": asdict(GRID), "sampler": asdict(SAMPLER)}
    weights = TokenSampler(CONFIG, GRID, SAMPLER).state_dict()
    save_file(weights, root / FILE, metadata={DESCRIPTION: json.dumps(description)})


def check_sampler(root: Path, file: Path) -> str:
    """Load a sampler, and choose tokens with it."""
    try:
        sampler = load_sampler(root)
    except CheckpointError as err:
        return refused(err, (CheckpointError,), file.name)
    if sampler.grid.num_tokens > 64:
        return "read as a larger one"
    with torch.no_grad():
        chosen = sampler(torch.zeros(1, *sampler.grid.clip_shape))[0].tolist()
    expect(len(set(chosen)) == len(chosen) == sampler.grid.num_visible, f"its mask is {chosen}")
    expect(all(0 <= token < sampler.grid.num_tokens for token in chosen), f"its mask is {chosen}")
    return READ


def safetensors_header(rng: random.Random, content: bytes) -> bytes:
    """Damage the header alone, and say rightly how long it is."""
    if len(content) < 8:  # damaged before
        return BYTES[0](rng, content)
    (length,) = struct.unpack_from("<Q", content)
    header = mutate(rng, content[8 : 8 + length], (), JSON)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def zip_member(rng: random.Random, content: bytes) -> bytes:
    """Damage one file within a torch file, so that its checksum is right again: most often the pickle."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError):
        return BYTES[0](rng, content)
    if not members:
        return BYTES[0](rng, content)
    pickles = [name for name in members if name.endswith("data.pkl")] or list(members)
    chosen = rng.choice(pickles if rng.random() < 0.8 else list(members))
    members[chosen] = mutate(rng, members[chosen] or b"\0", (), BYTES)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return out.getvalue()


def _mutations(name: str) -> tuple[Mutation, ...]:
    if name.endswith(".json"):
        return JSON
    return (*BYTES, *([safetensors_header if name.endswith(".safetensors") else zip_member] * len(BYTES)))


TARGETS = [
    Target(
        "encoder",
        make_encoders,
        check_encoder,
        ["encoder.safetensors", "model.safetensors", "config.json", "published.pth", "step-*.pt"],
        _mutations,
        share=6,
    ),
    Target("sampler", make_sampler, check_sampler, [FILE], _mutations),
]
