"""The Atari games: the same play for the same seed, and the memory of the console that tells where things are."""

import sys
from itertools import islice

import numpy as np
import pytest

from tats_gym.agents.config import preset_for
from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.clips.datasets.listing import list_videos
from tats_gym.clips.games.atari import ATARI_GAMES, atari_config, make_atari_data
from tats_gym.clips.games.config import RecordConfig
from tats_gym.clips.games.play import open_env, play, random_policy
from tats_gym.clips.games.ram import RAM, centre_coordinates, centre_ram, game_ids
from tats_gym.clips.games.recording import make_recording
from tests.video_files import decode, folder_bytes

PUBLISHED = """
bowling: ball_x=30 ball_y=41 player_x=29 player_y=40
boxing: player_x=32 player_y=34 enemy_x=33 enemy_y=35
breakout: ball_x=99 ball_y=101 player_x=72
demonattack: player_x=22 enemy_x1=17 enemy_x2=18 enemy_x3=19 missile_y=21 enemy_y1=69 enemy_y2=70 enemy_y3=71
freeway: player_y=14 enemy_car_x=108-117
frostbite: top_row_iceflow_x=34 second_row_iceflow_x=33 third_row_iceflow_x=32 fourth_row_iceflow_x=31
frostbite: player_x=102 player_y=100
pong: player_y=51 enemy_y=50 ball_x=49 ball_y=54
qbert: player_x=43 player_y=67
riverraid: player_x=51 missile_x=117 missile_y=50
seaquest: enemy_obstacle_x=30-33 player_x=70 player_y=97
spaceinvaders: player_x=28 enemies_x=26 missiles_y=9 enemies_y=24
tennis: enemy_x=27 enemy_y=25 ball_x=16 ball_y=17 player_x=26 player_y=24
"""
"""Bytes of the Atari Annotated RAM Interface, at its commit 1a94116; a range is numbered from 0."""


def test_the_bytes_are_the_published_ones():
    published = {}
    for line in PUBLISHED.split("\n")[1:-1]:
        game, words = line.split(": ")
        for name, place in (word.split("=") for word in words.split()):
            first, last = (int(end) for end in (place.split("-") * 2)[:2])
            numbered = {f"{name}_{number}": first + number for number in range(last - first + 1)}
            published.setdefault(game, {}).update(numbered if "-" in place else {name: first})
    assert {game.lower(): dict(places) for game, places in RAM.items()} == published


@pytest.fixture(scope="module", name="pong")
def _pong(tmp_path_factory):
    return make_atari_data(tmp_path_factory.mktemp("games") / "pong", atari_config(("Pong",), videos=4, held_out=1))


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_play(pong, tmp_path):
    def made(name, *games, **changes):
        settings = {"videos": 4, "held_out": 1, **changes}
        return folder_bytes(make_atari_data(tmp_path / name, atari_config(games, **settings)))

    assert made("again", "Pong") == folder_bytes(pong)
    longer = made("longer", "Boxing", "Pong", videos=2)
    own = [path for path in longer if path.suffix in (".webm", ".npy") and "Pong" in path.name]
    assert len(own) == 6
    assert all(longer[path] == folder_bytes(pong)[path] for path in own)  # whatever else is recorded with it
    other = RecordConfig(**{**vars(atari_config(("Pong",), videos=4, held_out=1)), "seed": 1})
    make_recording(tmp_path / "other", other)
    rams = [np.load(next(root.rglob("*train-00000.npy"))) for root in (pong, tmp_path / "other")]
    assert (rams[0] != rams[1]).mean() > 0.01
    held_out = np.load(next(pong.rglob("*validation-00000.npy")))
    assert (rams[0] != held_out).mean() > 0.01


def test_atari_without_its_package_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tats-gym\[atari\]'"):
        make_atari_data(tmp_path / "atari")
    assert list(tmp_path.iterdir()) == []


def test_a_recorded_atari_set_is_read_without_the_package(pong, monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(FileExistsError, match=r"should hold the Atari set .*'videos': 200.* but holds .*'videos': 4"):
        make_atari_data(pong, atari_config())
    videos = list_videos("atari", pong, "train")
    assert videos.classes == ("ALE/Pong-v5",)
    assert len(videos) == 4


def test_a_recording_of_some_games_is_read_as_the_set_is(tmp_path):
    config = atari_config(("Pong",), videos=2, held_out=1)
    make_recording(tmp_path / "play", config)
    assert make_atari_data(tmp_path / "play") == tmp_path / "play"
    assert len(list_videos("atari", tmp_path / "play", "train")) == 2
    with pytest.raises(FileExistsError, match="should hold the Atari set"):
        make_atari_data(tmp_path / "play", config)  # asked for by its settings it must be that very set


def test_the_whole_set_has_2400_and_384_videos_of_games_whose_memory_is_known():
    assert atari_config().counts == {"train": 2400, "validation": 384}
    assert len(ATARI_GAMES) == 12


def test_the_preset_has_512_tokens_of_which_51_are_visible():
    config = preset_for("TatsMask-atari-v0")
    assert config.grid.shape == (8, 8, 8)
    assert config.grid.num_visible == 51
    assert (config.clips.data, config.clips.stride) == ("atari", 1)


def thing(frame, colour, rows, columns):
    """The left and the top of what has this colour within rows and columns, its width and its height."""
    y, x = np.nonzero((frame[rows, columns] == colour).all(-1))
    if not len(x):
        return None
    left, top = int(x.min()) + columns.start, int(y.min()) + rows.start
    return left, top, int(np.ptp(x)) + 1, int(np.ptp(y)) + 1


@pytest.mark.parametrize(
    ("game", "name", "colour", "rows", "columns", "size", "offset"),
    [
        ("Pong", "ball", 236, slice(34, 194), slice(0, 160), (2, 4), (-49, -14)),
        ("Breakout", "ball", (200, 72, 72), slice(93, 188), slice(8, 152), (2, 4), (-49, 9)),
        ("Boxing", "player", 214, slice(36, 178), slice(30, 130), (14, 47), (5, 38)),
    ],
)
def test_the_memory_tells_where_the_screen_shows_things(game, name, colour, rows, columns, size, offset):
    """Found by their colour and size on the emulator's own screen; offsets read off by eye once."""
    env = open_env(f"ALE/{game}-v5", {"frameskip": 4})
    seen = 0
    for moment in islice(play(env, random_policy(env, 0), name=game, seed=0, skip=1), 60, 360):
        found = thing(moment.frame, colour, rows, columns)
        if found is None or found[2:] != size:
            continue  # it is hidden, at a border, or in another pose
        x, y = (int(moment.ram[RAM[game][f"{name}_{axis}"]]) for axis in "xy")
        assert abs(found[0] - x - offset[0]) <= 1
        assert abs(found[1] - y - offset[1]) <= 2
        seen += 1
    assert seen > 50


def test_pongs_ball_is_in_the_decoded_frames_where_the_memory_says(pong):
    contrasts = []
    for path in pong.rglob("*.webm"):
        grey = decode(path).mean(-1)  # (T, 96, 96)
        for frame, ram in zip(grey, np.load(path.with_suffix(".npy")).astype(int), strict=True):
            left, top = ram[RAM["Pong"]["ball_x"]] - 49, ram[RAM["Pong"]["ball_y"]] - 14
            if not (12 < left < 146 and 40 < top < 184):
                continue  # not served yet, or close to a paddle or a border
            x, y = int((left + 1) * 96 / 160), int((top + 2) * 96 / 210)
            around = np.median(frame[y - 4 : y + 5, x - 4 : x + 5])
            contrasts.append(frame[y - 1 : y + 2, x - 1 : x + 2].max() - around)
    assert len(contrasts) > 20
    assert min(contrasts) > 60  # of 152, the ball's in the original


@pytest.mark.parametrize(
    ("settings", "rows"),
    [({"stride": 1}, range(4, 20)), ({"stride": 3}, [*range(0, 24, 3), *[23] * 8])],
)
def test_the_memory_of_a_centre_clip_is_that_of_its_frames(pong, settings, rows):
    stream = ClipStream(ClipConfig(data="atari", root=str(pong), **settings), frames=16, size=32, seed=0)
    whole = np.load(stream.videos.videos[2].path.with_suffix(".npy"))
    assert whole.shape == (24, 128)
    ram = centre_ram(stream, [2, 0])
    assert (ram.shape, ram.dtype) == ((2, 16, 128), np.uint8)
    np.testing.assert_array_equal(ram[0], whole[list(rows)])
    coordinates = centre_coordinates(stream, [0, 2])
    assert coordinates.names == ("player_y", "enemy_y", "ball_x", "ball_y")
    np.testing.assert_array_equal(coordinates.values[1], whole[list(rows)][:, [51, 50, 49, 54]])
    stream.videos.videos[0].path.with_suffix(".npy").rename(pong / "hidden")
    with pytest.raises(FileNotFoundError, match=r"train-00000\.npy should hold the memory"):
        centre_ram(stream, [0])
    (pong / "hidden").rename(stream.videos.videos[0].path.with_suffix(".npy"))


def test_coordinates_are_those_of_one_game(tmp_path):
    games = ("ALE/Boxing-v5", "ALE/Pong-v5", "ALE/Alien-v5")
    root = tmp_path / "games"
    make_recording(root, RecordConfig(env=games, videos=2, held_out=1, frames=4, size=32))

    def stream(data):
        return ClipStream(ClipConfig(data=data, root=str(root), stride=1), frames=4, size=32, seed=0)

    named = stream("ssv2")
    assert (game_ids(named, "Boxing"), game_ids(named, "Pong")) == ([0, 1], [2, 3])
    assert centre_coordinates(named, game_ids(named, "Boxing")).values.shape == (2, 4, 4)
    with pytest.raises(ValueError, match=r"ids must be clips of one game, .* got 'Boxing', 'Pong'"):
        centre_coordinates(named, [0, 2])
    with pytest.raises(ValueError, match=r"game must be one of Pong, .*; got 'Alien'"):
        centre_coordinates(named, [4, 5])
    with pytest.raises(ValueError, match=r"game must be one of .*; did you mean 'Pong'"):
        game_ids(named, "Ping")
    with pytest.raises(ValueError, match=r"must be a game such as ALE/Pong-v5, got '0'; .* or 'ssv2'"):
        centre_coordinates(stream("list"), [0])
    with pytest.raises(ValueError, match=r"must be a game such as ALE/Pong-v5, got None; data='atari'"):
        centre_coordinates(stream("folder"), [0])
