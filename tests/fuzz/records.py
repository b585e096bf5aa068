"""The line-by-line records of a run, and the descriptions of folders: rubbish in them costs no more than itself."""

import json
from dataclasses import asdict
from pathlib import Path

from tats_gym.agents.config import PretrainConfig
from tats_gym.clips.datasets.films import SETTINGS_FILE
from tats_gym.clips.demo.files import make_demo_data
from tats_gym.clips.prepare.segments import CutConfig, claim_folder
from tats_gym.clips.prepare.verify import Verification, VerifyConfig
from tats_gym.clips.streaming.journal import Journal, Replacement
from tats_gym.runs.folder import REPLACED, read_config
from tats_gym.runs.kinds import PRETRAINING
from tats_gym.runs.metrics import METRICS, read_metrics
from tests.fuzz.mutators import JSON, Mutation
from tests.fuzz.settings import PRESETS, setting_names
from tests.fuzz.target import READ, Target, expect, refused
from tests.layouts import moving_frames
from tests.video_files import write_video

DRAWS = [Replacement(0, 0, draw, draw % 2, f"{draw}.mp4", "it does not decode") for draw in range(8)]


def make_journal(root: Path) -> None:
    """Write a journal of eight replacements."""
    text = "".join(json.dumps(asdict(draw)) + "\n" for draw in DRAWS)
    (root / REPLACED).write_text(text, encoding="utf-8")


def check_journal(root: Path, file: Path) -> str:
    """Go on with a journal: its entries must be replacements, and added ones must be found again."""
    journal = Journal()
    journal.keep(file)
    attempts = journal.attempts(0, (0, 1))
    expect(all(type(number) is int for pair in attempts.items() for number in pair), f"the attempts are {attempts}")
    added = Replacement(5, 1, 99, 2, "added.mp4", "it hung", ranks=2)
    journal.add(added)
    again = Journal()
    again.keep(file)
    expect(again.attempts(5, (1, 2)) == {99: 3}, "what was added is lost")
    expect(again.attempts(0, (0, 1)) == attempts, "what was there is lost")
    return READ


def make_metrics(root: Path) -> None:
    """Write the metrics of a run."""
    rows = [{"step": 10 * i, "mae/loss": 0.5, "time/masks_per_s": 3.0} for i in range(8)]
    (root / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def check_metrics(root: Path, file: Path) -> str:
    """Read metrics: rows map names to logged values."""
    rows = read_metrics(root)
    expect(all(isinstance(row, dict) for row in rows), "a row is no object")
    expect(all(type(row.get("step", 0)) in (int, float) for row in rows), "a step is no number")
    return READ


def make_record(root: Path) -> None:
    """Write the record that describes a run."""
    record = {"config": PRESETS["demo"].as_dict(), "seed": 0, "commit": "0" * 40, "versions": {"torch": "2.11"}}
    (root / "config.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def check_record(root: Path, file: Path) -> str:
    """Read a run's settings as one that goes on does."""
    try:
        PretrainConfig.from_dict(read_config(root, PRETRAINING))
    except (TypeError, ValueError) as err:
        return refused(err, (TypeError, ValueError), file.name, *setting_names())
    return READ


def make_partial(root: Path) -> None:
    """Write three videos, and the findings of a stopped check of two of them."""
    for number in range(3):
        write_video(root / f"{number}.mp4", moving_frames(number, 4))
    (root / "train.csv").write_text("".join(f"{number}.mp4 {number % 2}\n" for number in range(3)), encoding="utf-8")
    check = Verification(VerifyConfig(data="list", root=str(root), frames=2, stride=1))
    for _ in zip(range(2), check, strict=False):
        pass
    index = root / "tats-gym-list-train.jsonl.partial"
    index.rename(root / "stopped.jsonl")


def check_partial(root: Path, file: Path) -> str:
    """Go on with a check: in the end every video is known."""
    config = VerifyConfig(data="list", root=str(root), frames=2, stride=1)
    (root / "tats-gym-list-train.jsonl.partial").write_bytes(file.read_bytes())
    check = Verification(config)
    list(check)
    report = check.finish()
    expect(report.ok + report.short + len(report.broken) == 3, "a video is not counted")
    check.index.unlink()
    return f"{READ} {check.resumed} of 2"


def make_notes(root: Path) -> None:
    """Write the records of how segments were cut and the demo data made."""
    (root / "segments").mkdir()
    claim_folder(root / "segments", CutConfig())
    make_demo_data(root / "demo", train=1, validation=1)


def check_notes(root: Path, file: Path) -> str:
    """Go on in a folder, which must be of the kind that is wanted."""
    try:
        if file.name == SETTINGS_FILE:
            claim_folder(file.parent, CutConfig())
        else:
            make_demo_data(root / "demo", train=1, validation=1)
    except (ValueError, FileExistsError) as err:
        return refused(err, (ValueError, FileExistsError), str(file.parent))
    return READ


def _json(name: str) -> tuple[Mutation, ...]:
    return JSON


TARGETS = [
    Target("journal", make_journal, check_journal, ["*.jsonl"], _json),
    Target("metrics", make_metrics, check_metrics, ["*.jsonl"], _json),
    Target("record", make_record, check_record, ["config.json"], _json),
    Target("partial-index", make_partial, check_partial, ["stopped.jsonl"], _json),
    Target("notes", make_notes, check_notes, ["segments.json", "generator.json"], _json),
]
