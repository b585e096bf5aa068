"""The probe's scripts as a user runs them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tats_gym.agents.experiments.probe.study import demo_probe_study, run_probe_study
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.clips.demo.files import make_demo_data
from tests.layouts import write_two_classes
from tests.runs import load_command, tiny_config

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Eight training and four test clips of two classes, dark and bright."""
    return write_two_classes(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def run_folder(clips_root, tmp_path_factory):
    """A run of two epochs on clips of 4 x 32 x 32."""
    run = Pretraining(tiny_config(clips_root, tmp_path_factory.mktemp("runs")))
    try:
        return run.run().folder
    finally:
        run.close()


@pytest.fixture(name="main", scope="module")
def _main():
    return load_command("probe").main


def options(root, cache):
    listed = ["--env", "TatsMask-list-v0", "--root", str(root), "--cache", str(cache), "--stride", "1", "--quiet"]
    return [*listed, "--device", "cpu"]


def test_a_run_is_probed_by_every_method_from_another_place(main, monkeypatch, capsys, labelled, run_folder, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["--encoder", str(run_folder), "--method", "logistic", "sgd", "knn", "attentive", "--norm",
                 "encoder", "none", "--knn.k", "3", "--sgd.base-lr", "50", "--attentive.epochs", "3",
                 "--out", "records.json", *options(labelled, tmp_path / "cache")]) == 0  # fmt: skip
    assert re.search(r"dataset +mask ratio +chance +tats top-1", capsys.readouterr().out)
    assert len(list((tmp_path / "cache").iterdir())) == 4  # two splits, two norms
    written = json.loads((tmp_path / "records.json").read_text())
    assert {"command", "commit", "date", "versions", "records"} == written.keys()
    assert len(written["records"]) == 8
    assert [record["pool"] for record in written["records"]] == ["mean", "mean", "mean", "tokens"] * 2
    for record in written["records"]:
        assert (record["num_train"], record["num_test"], record["chance"]) == (8, 4, 0.5)
        assert (record["top5"], record["unreadable_test"]) == (None, 0)
        assert record["encoder"]["agent"] == "tats"
    best = max(written["records"], key=lambda record: record["top1"])
    assert best["top1"] == 1.0  # brightness tells the class
    assert best["per_class"] == {"0": 1.0, "1": 1.0}


def test_records_join_later_tables(main, labelled, run_folder, tmp_path, capsys):
    shared = [*options(labelled, tmp_path / "cache"), "--knn.k", "1", "--method", "knn"]
    assert main(["--encoder", str(run_folder), "--out", str(tmp_path / "one.json"), *shared]) == 0
    assert main(["--encoder", str(run_folder), "--add", str(tmp_path / "one.json"), "--seeds", "1", *shared]) == 0
    assert "±" in capsys.readouterr().out.splitlines()[-1]


def test_a_set_smaller_than_k_is_probed_by_all_of_its_clips(main, labelled, run_folder, tmp_path, capsys):
    out = tmp_path / "out.json"
    shared = [*options(labelled, tmp_path / "cache"), "--out", str(out)]
    assert main(["--encoder", str(run_folder), *shared]) == 0  # logistic, and knn with 20 neighbours
    assert "knn, k 8, norm encoder" in capsys.readouterr().out
    logistic, knn = json.loads(out.read_text())["records"]
    assert (logistic["fitted"]["converged"], knn["fitted"]["k"], knn["settings"]["k"]) == (True, 8, 20)


def test_passes_and_views_can_be_probed(main, labelled, run_folder, tmp_path):
    out = tmp_path / "out.json"
    shared = [*options(labelled, tmp_path / "cache"), "--method", "logistic", "--out", str(out)]
    assert main(["--encoder", str(run_folder), "--passes", "2", "--temporal", "2", "--spatial", "3", *shared]) == 0
    (record,) = json.loads(out.read_text())["records"]
    assert (record["passes"], record["views"]) == (2, [2, 3])


def test_frames_can_be_spread_over_the_whole_video(main, labelled, run_folder, tmp_path):
    out, records = tmp_path / "out.json", {}
    for sampling in ("stride", "segments"):
        shared = [*options(labelled, tmp_path / "cache"), "--method", "knn", "--knn.k", "1", "--out", str(out)]
        assert main(["--encoder", str(run_folder), "--sampling", sampling, *shared]) == 0
        (records[sampling],) = json.loads(out.read_text())["records"]
        assert records[sampling]["sampling"] == sampling
    assert records["stride"]["features"] != records["segments"]["features"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "TatsMask-lists-v0"], "--env must be one of .*did you mean 'TatsMask-list-v0'"),
        (["--env", "TatsMask-folder-v0"], "--env must name a dataset with classes, got TatsMask-folder-v0"),
        (["--encoder", "nowhere"], "got 'nowhere'"),
        (["--env", "TatsMask-ucf101-v0", "--root", "/nowhere"], "(?s)/nowhere.*UCF101"),
        (["--add", "README.md"], "README.md holds no records of tats-gym probe"),
        (["--size", "64"], "has position embeddings for 4 frames of 32 x 32, but the clips have 4 frames of 64 x 64"),
    ],
)
def test_bad_arguments_are_answered_without_a_traceback(
    main, labelled, run_folder, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(ROOT)
    try:
        code = main(["--encoder", str(run_folder), *options(labelled, tmp_path / "cache"), *arguments])
    except SystemExit as ended:  # how the command line's own parser leaves
        code = ended.code
    assert code in (1, 2)
    shown = capsys.readouterr()
    plain = re.sub(r"[│╭╮╰╯─\s]+", " ", shown.err + shown.out)
    assert re.search(message, plain), plain


def test_a_list_without_labels_is_an_error(main, labelled, run_folder, tmp_path, capsys):
    for name in ("train", "val"):
        listed = (labelled / f"{name}.csv").read_text()
        (tmp_path / f"{name}.csv").write_text(re.sub(r" \d$", "", listed, flags=re.MULTILINE))
    assert main(["--encoder", str(run_folder), *options(tmp_path, tmp_path / "cache")]) == 1
    assert "8 of 8 clips of the training split have none" in capsys.readouterr().err


def test_a_study_pairs_each_seed_with_its_own_start_and_goes_on(tmp_path, monkeypatch):
    demo = make_demo_data(tmp_path / "data", train=48, validation=24)
    study = demo_probe_study(demo, epochs=1, epoch_masks=32, points=1)
    base = replace(study.base, device="cpu", eval_clips=2, eval_masks=1, clips=replace(study.base.clips, cache_mib=64))
    study = replace(study, base=base, norms=("encoder",), methods=("knn",))
    rows = run_probe_study(study, tmp_path / "runs", [3], jobs=1)
    assert [(row["step"], row["pool"]) for row in rows] == [
        (step, pool) for step in (0, 32) for pool in ("mean", "change", "frames")
    ]
    assert {(row["agent"], row["seed"], row["num_train"], row["num_test"]) for row in rows} == {("random", 3, 48, 24)}
    assert not list((tmp_path / "runs").rglob("*.safetensors"))
    monkeypatch.setattr("tats_gym.agents.experiments.probe.study.evaluate", None)
    assert run_probe_study(study, tmp_path / "runs", [3], jobs=1) == rows
    with pytest.raises(ValueError, match="epochs must be a multiple of points, got 3 and 2"):
        demo_probe_study(demo, epochs=3, epoch_masks=32, points=2)
