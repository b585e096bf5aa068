"""Coordinates of things in Atari games: the bytes of the console's memory that hold them, for the clips of a stream."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tats_gym.clips.augment import view_windows
from tats_gym.clips.streaming.stream import ClipStream
from tats_gym.messages import brief, check_choice, listed

RAM: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "Pong": {"player_y": 51, "enemy_y": 50, "ball_x": 49, "ball_y": 54},
        "Breakout": {"player_x": 72, "ball_x": 99, "ball_y": 101},
        "Boxing": {"player_x": 32, "player_y": 34, "enemy_x": 33, "enemy_y": 35},
        "Tennis": {"player_x": 26, "player_y": 24, "enemy_x": 27, "enemy_y": 25, "ball_x": 16, "ball_y": 17},
        "Bowling": {"player_x": 29, "player_y": 40, "ball_x": 30, "ball_y": 41},
        "Freeway": {"player_y": 14, **{f"enemy_car_x_{lane}": 108 + lane for lane in range(10)}},
        "Seaquest": {"player_x": 70, "player_y": 97, **{f"enemy_obstacle_x_{row}": 30 + row for row in range(4)}},
        "Qbert": {"player_x": 43, "player_y": 67},
        "Riverraid": {"player_x": 51, "missile_x": 117, "missile_y": 50},
        "SpaceInvaders": {"player_x": 28, "enemies_x": 26, "enemies_y": 24, "missiles_y": 9},
        "Frostbite": {
            "player_x": 102, "player_y": 100, "top_row_iceflow_x": 34, "second_row_iceflow_x": 33,
            "third_row_iceflow_x": 32, "fourth_row_iceflow_x": 31,
        },
        "DemonAttack": {
            "player_x": 22, "enemy_x1": 17, "enemy_x2": 18, "enemy_x3": 19,
            "enemy_y1": 69, "enemy_y2": 70, "enemy_y3": 71, "missile_y": 21,
        },
    }
)  # fmt: skip
"""Game to the index of each coordinate's byte, as the Atari Annotated RAM Interface names them (Anand et al. 2019,
Unsupervised State Representation Learning in Atari, https://arxiv.org/abs/1906.08226, its file
atariari/benchmark/ram_annotations.py), without those that never change under random play."""


class Coordinates(NamedTuple):
    """Coordinates in clips of one game."""

    names: tuple[str, ...]
    """Name of each coordinate, as in `RAM`."""
    values: NDArray[np.uint8]
    """Bytes (B, T, coordinates): a pixel on the screen is a byte plus a number that depends on the game. While a thing
    is not on the screen, its bytes hold any value."""


def game_ids(stream: ClipStream, game: str) -> list[int]:
    """Return the ids of a game's clips: their indices in the stream's list of videos.

    Args:
        stream: Clips of recorded Atari games.
        game: A name in `RAM`.

    Raises:
        ValueError: If the game is not in `RAM`.
    """
    check_choice("game", game, RAM)
    return [id_ for id_ in range(len(stream.videos)) if _game(stream, id_) == game]


def centre_coordinates(stream: ClipStream, ids: Sequence[int]) -> Coordinates:
    """Return the coordinates at each frame of the clips that `stream.centre(ids)` shows.

    Args:
        stream: Clips of recorded Atari games.
        ids: Clips of one game, see `game_ids`.

    Raises:
        FileNotFoundError: If the memory was not recorded with a video.
        ValueError: If the clips are of several games, or of one that is not in `RAM`.
    """
    games = sorted({_game(stream, id_) for id_ in ids})
    if len(games) != 1:
        raise ValueError(f"ids must be clips of one game, as game_ids returns them; got {listed(games)}")
    check_choice("the game", games[0], RAM)
    names, indices = zip(*RAM[games[0]].items(), strict=True)
    return Coordinates(names, centre_ram(stream, ids)[..., list(indices)])


def centre_ram(stream: ClipStream, ids: Sequence[int]) -> NDArray[np.uint8]:
    """Return the console's memory at each frame of the clips that `stream.centre(ids)` shows, (B, T, 128).

    Args:
        stream: Clips of recorded Atari games.
        ids: Indices in the stream's list of videos.

    Raises:
        FileNotFoundError: If the memory was not recorded with a video.
    """
    rams = np.empty((len(ids), stream.frames, 128), np.uint8)
    for row, id_ in zip(rams, ids, strict=True):
        path = stream.videos.videos[id_].path.with_suffix(".npy")
        if not path.is_file():
            raise FileNotFoundError(f"{path} should hold the memory of an Atari game, as tats-gym record writes it")
        ram = np.load(path)
        (chosen,) = view_windows(len(ram), stream.frames, stream.config.stride, stream.config.sampling, 1)
        row[:] = ram[chosen]
    return rams


def _game(stream: ClipStream, id_: int) -> str:
    """Return the game of a clip, from its class, an id of Gymnasium such as ALE/Pong-v5.

    Raises:
        ValueError: If the class is no such id.
    """
    label = stream.videos.videos[id_].label
    name = None if label is None else stream.videos.classes[label]
    match = re.fullmatch(r"ALE/(\w+)-v\d+", name or "")
    if match is None:
        raise ValueError(
            f"the class of a clip must be a game such as ALE/Pong-v5, got {brief(name)}; data='atari', or 'ssv2' for a "
            "recording, reads the classes by their names"
        )
    return match[1]
