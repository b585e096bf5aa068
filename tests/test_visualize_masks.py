"""Any run's agent can be taken out of it and drawn on any video, beside others."""

from dataclasses import replace

import pytest
import torch

from agents.pretraining import Pretraining
from agents.trained import SavedRun
from tats_gym.checkpoint import CheckpointError
from tests.runs import load_script, tiny_config
from tests.video_files import noise_frames, write_video


@pytest.fixture(scope="module", name="script")
def _script():
    return load_script("visualize_masks")


@pytest.fixture(scope="module", name="runs")
def _runs(clips_root, tmp_path_factory):
    """A run of each kind of agent: ours, one that masks pixels, and a stock one that scores tokens."""
    out = tmp_path_factory.mktemp("runs")
    found = {}
    for agent in ("tats", "motion", "sac", "tube"):
        config = tiny_config(clips_root, out, agent=agent, num_envs=2)
        config = replace(config, grid=replace(config.grid, visible=4))
        run = Pretraining(config)
        run.save()
        found[agent] = run.folder
        run.close()
    return found


@pytest.fixture(scope="module", name="videos")
def _videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    write_video(folder / "noise one.mp4", noise_frames(12, 40, 56))
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def test_every_form_is_drawn_of_any_video_with_every_mask_ratio(script, runs, videos, tmp_path, capsys):
    arguments = [str(runs["tats"]), "--compare", str(runs["motion"]), "--videos", str(videos / "noise one.mp4"),
                 str(videos / "broken.mp4"), "--mask-ratio", "0.5", "0.75", "--out", str(tmp_path)]  # fmt: skip
    assert script.main(arguments) == 0
    printed = capsys.readouterr()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"00-noise one-visible{k}.{form}" for k in (2, 4) for form in ("gif", "mp4", "png")
    ]
    assert "left out: " in printed.err
    assert "broken.mp4" in printed.err
    assert "2 of 8 tokens visible; mean error" in printed.out
    assert " under tats's mask, " in printed.out
    assert " under motion's mask" in printed.out


def test_without_videos_held_out_clips_of_the_run_are_drawn(script, runs, tmp_path):
    checkpoint = next((runs["sac"] / "checkpoints").iterdir())
    arguments = [
        str(checkpoint),
        "--compare",
        str(runs["sac"]),
        "--clips",
        "1",
        "--forms",
        "png",
        "--out",
        str(tmp_path),
    ]
    assert script.main(arguments) == 0
    (picture,) = tmp_path.iterdir()
    assert picture.name.endswith("-visible4.png")
    assert picture.stat().st_size > 5000


def test_an_agent_out_of_its_run_masks_as_it_did_in_it(clips_root, tmp_path):
    run = Pretraining(tiny_config(clips_root, tmp_path, num_envs=2))
    torch.nn.init.normal_(run.agent.policy.actor_head.weight, std=5)
    run.save()
    saved = SavedRun.read(run.folder)
    pixels = run.vector_env.hand.stream.centre([0, 1]).pixels
    agent = saved.agent(run.config.clips)
    before = torch.random.get_rng_state()
    ids, probabilities = agent.mask(pixels, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(ids, agent.mask(pixels, seed=3)[0])
    with torch.no_grad():
        wanted = run.agent.policy.get_distribution(run.mae.embed(pixels)).distribution
        error = run.mae(pixels, ids).errors
    torch.testing.assert_close(probabilities, wanted.token_log_prob.exp())
    torch.testing.assert_close(agent.reconstruct(pixels, ids, "tats").reconstruction.errors, error)
    assert saved.agent(run.config.clips, num_visible=5).mask(pixels)[0].shape == (2, 5)
    run.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--compare", "{tats}/nothing"], "no checkpoint at"),
        (["--videos", "gone.mp4"], "there is no video at gone.mp4"),
        (["--videos", "{broken}"], "none of the videos could be read"),
        (["--mask-ratio", "0.99"], "at least one token must be visible"),
        (["--compare", "{tube}", "--mask-ratio", "0.625"], "visible must be a multiple of 2, got 3"),
    ],
)
def test_what_cannot_be_drawn_is_said(script, runs, videos, tmp_path, capsys, change, message):
    change = [each.format(**runs, broken=videos / "broken.mp4") for each in change]
    assert script.main([str(runs["tats"]), *change, "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_runs_of_other_tokens_and_what_is_no_run_are_refused(script, runs, clips_root, tmp_path, capsys):
    config = tiny_config(clips_root, tmp_path)
    run = Pretraining(replace(config, grid=replace(config.grid, frames=8)))
    run.save()
    run.close()
    assert script.main([str(runs["tats"]), "--compare", str(run.folder), "--out", str(tmp_path / "out")]) == 1
    assert "frames=8" in capsys.readouterr().err
    torch.save({"mae": {}}, tmp_path / "some.pt")
    with pytest.raises(CheckpointError, match="only a run holds an agent"):
        SavedRun.read(tmp_path / "some.pt")
