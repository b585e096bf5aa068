"""Coordinates in Atari games, decoded from a frozen encoder's tokens: a test of the features that it learned."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.trials.stored_results import read_result, store_result
from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.clips.games.ram import RAM, centre_coordinates, game_ids
from tats_gym.encoders.mae import MAESource
from tats_gym.model.encoder import VideoEncoder, encoder_weights, load_encoder_weights
from tats_gym.probe import AttentiveDecoderConfig, RidgeConfig, fit_attentive_decoder, fit_ridge
from tats_gym.probe.features import weights_digest
from tats_gym.probe.scoring import r_squared
from tats_gym.train.precision import Precision, autocast, resolve_device

RESULT = "positions.json"
"""In a run's folder: R² of every coordinate, by decoder."""
SMALL = ("ball_", "missile_", "missiles_")
"""Beginnings of the names of things of a few pixels, which random masks seldom show."""
BATCH = 32
"""Clips in a forward pass."""


@dataclass(frozen=True)
class Samples:
    """A game's clips, tubelet by tubelet: the encoder's features, and the coordinates at the tubelet's end."""

    tokens: Tensor
    """(E, n, D) features of one tubelet's n = h * w tokens, from an encoder that saw the whole clip."""
    coordinates: Tensor
    """(E, coordinates) float32 at the tubelet's last frame."""
    clips: Tensor
    """(E,) clip of the sample; each has t of them, one after another."""
    names: tuple[str, ...]
    """Name of each coordinate, as in `RAM`."""


def decoded_coordinates(config: PretrainConfig) -> list[dict[str, Any]]:
    """Decode the coordinates from the encoder of the run `config.init_mae`: one row, kept in the run's folder.

    `r2_ridge` and `r2_attentive` are means of R² over all coordinates of all games; `r2_ridge_small` and
    `r2_attentive_small` over those of balls and missiles alone. An R² below zero, a decoder that is worse than the
    mean, counts as zero there, so that a coordinate which hardly moves in the held-out clips does not outweigh all
    others. `by_coordinate` holds each as it is.

    Raises:
        FileNotFoundError: If the memory was not recorded with a video.
        ValueError: If no game of `RAM` is among the clips.
    """
    assert config.init_mae is not None
    weights = MAESource.find(config.init_mae).weights
    assert weights is not None
    encoder = VideoEncoder(config.mae, config.grid)
    load_encoder_weights(encoder, encoder_weights(weights))
    path, inputs = Path(config.init_mae, RESULT), {"encoder": weights_digest(encoder), **_settings()}
    by_coordinate = read_result(path, inputs) or store_result(path, inputs, _decoded(encoder, config))
    if not by_coordinate:
        raise ValueError(f"the clips must hold a game of {', '.join(RAM)} in which things move")
    return [{**_means(by_coordinate), "by_coordinate": by_coordinate}]


def _settings() -> dict[str, Any]:
    return {"ridge": asdict(RidgeConfig()), "attentive": asdict(AttentiveDecoderConfig())}


def _decoded(encoder: VideoEncoder, config: PretrainConfig) -> dict[str, dict[str, float]]:
    """Return the R² of every coordinate, such as "Pong ball_x", by decoder."""
    all_scores = {}
    streams = [_stream(part, config) for part in (config.clips, config.clips.held_out)]
    encoder.to(resolve_device(config.device)).eval()
    for game in games_of(streams[0]):
        train, test = (samples_of(encoder, stream, game, config.precision) for stream in streams)
        for name, scores in decode(train, test, seed=config.seed).items():
            all_scores[f"{game} {name}"] = scores
    return all_scores


def _stream(clips: ClipConfig, config: PretrainConfig) -> ClipStream:
    clips = replace(clips, repeats=1, cache_mib=0, num_workers=0)  # each video is read once
    return ClipStream(clips, frames=config.grid.frames, size=config.grid.size, seed=0)


def games_of(stream: ClipStream) -> list[str]:
    """Return the games of `RAM` that a stream has clips of."""
    return [game for game in RAM if game_ids(stream, game)]


def samples_of(encoder: VideoEncoder, stream: ClipStream, game: str, precision: Precision) -> Samples:
    """Encode the centre windows of a game's clips, each whole, and take every tubelet as a sample.

    Args:
        encoder: In evaluation mode; the samples are on its device.
        stream: Clips of the encoder's geometry.
        game: A name in `RAM`.
        precision: Arithmetic of the forward passes.
    """
    ids = game_ids(stream, game)
    coordinates = centre_coordinates(stream, ids)
    t, tubelet_size = encoder.grid.shape[0], encoder.grid.tubelet_size
    tokens = torch.cat(list(_tokens(encoder, stream, ids, precision)))  # (B, L, D)
    last = coordinates.values[:, tubelet_size - 1 :: tubelet_size].astype(np.float32)  # (B, t, coordinates)
    return Samples(
        tokens.unflatten(1, (t, -1)).flatten(0, 1),
        torch.from_numpy(last).flatten(0, 1).to(tokens.device),
        torch.tensor(ids, device=tokens.device).repeat_interleave(t),
        coordinates.names,
    )


def _tokens(encoder: VideoEncoder, stream: ClipStream, ids: Sequence[int], precision: Precision) -> Iterator[Tensor]:
    device = next(encoder.parameters()).device
    for start in range(0, len(ids), BATCH):
        pixels = stream.centre(ids[start : start + BATCH]).pixels.to(device)
        with torch.no_grad(), autocast(precision, device):
            yield encoder(pixels).float()


def decode(train: Samples, test: Samples, *, seed: int) -> dict[str, dict[str, float]]:
    """Fit both decoders to a game's training samples; return the R² of each coordinate on the test samples.

    Coordinates that are constant in either part are left out.
    """
    varied = torch.stack([part.coordinates.std(0, correction=0) > 0 for part in (train, test)]).all(0)
    if not varied.any():
        return {}
    wanted = train.coordinates[:, varied]
    ridge = fit_ridge(train.tokens.flatten(1), wanted, train.clips, RidgeConfig(), seed=seed)
    attentive = fit_attentive_decoder(train.tokens, wanted, AttentiveDecoderConfig(), seed=seed)
    predicted = {"ridge": ridge.predict(test.tokens.flatten(1)), "attentive": attentive.predict(test.tokens)}
    scores = {name: r_squared(each, test.coordinates[:, varied]).tolist() for name, each in predicted.items()}
    names = [train.names[i] for i in varied.nonzero().flatten().tolist()]
    return {name: {decoder: each[i] for decoder, each in scores.items()} for i, name in enumerate(names)}


def _means(by_coordinate: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the means over coordinates, see `decoded_coordinates`; without those of small things if there are none."""
    small = [name for name in by_coordinate if name.split()[1].startswith(SMALL)]
    means = {}
    for decoder in ("ridge", "attentive"):
        for ending, names in (("", list(by_coordinate)), ("_small", small)):
            if names:
                means[f"r2_{decoder}{ending}"] = float(
                    np.mean([max(0.0, by_coordinate[name][decoder]) for name in names])
                )
    return means
