"""Damaged files end as their readers promise: a small share of `make fuzz`, and its earlier findings."""

import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fuzz.campaign import DEATH, TIME_OUT, Case, Judge, Result, Verdict, cases, judge_all, make_worlds
from tests.fuzz.minimise import save, saved, smaller
from tests.fuzz.mutators import BYTES, JSON, TEXT, mutate
from tests.fuzz.target import READ, Fault, Target, refused
from tests.fuzz.targets import TARGETS, shares

pytestmark = pytest.mark.long

CORPUS = Path(__file__).parent / "fuzz/corpus"
KEPT = saved(CORPUS)


def make_broken(root):
    (root / "a.txt").write_text("good")


def check_broken(root, file):
    """A reader with every defect that a fuzzer looks for."""
    content = file.read_bytes()
    if content.startswith(b"die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if content.startswith(b"hang"):
        time.sleep(600)
    if content.startswith(b"leak"):
        raise KeyError("a column")
    if content.startswith(b"unnamed"):
        return refused(ValueError("invalid literal"), (ValueError,), file.name)
    if content.startswith(b"endless"):
        return refused(ValueError(f"{file.name}: {'x' * 9000}"), (ValueError,), file.name)
    if content.startswith(b"another"):
        return refused(OSError(file.name), (ValueError,), file.name)
    return READ


def as_text(name):
    return TEXT


WORDS = ["good", "die", "hang", "leak", "unnamed", "endless", "another", "good too"]
BROKEN = Target("broken", make_broken, check_broken, ["a.txt"], as_text)
DECODER = replace(BROKEN, name="broken-decoder", decodes=True)
BY_NAME = {target.name: target for target in TARGETS}


@pytest.fixture(scope="module", name="made")
def _made(tmp_path_factory):
    """The undamaged files of every target, and the judge of damaged ones."""
    folder = tmp_path_factory.mktemp("fuzz")
    seeds = make_worlds([*TARGETS, BROKEN, DECODER], folder / "worlds")
    targets = BY_NAME | {BROKEN.name: BROKEN, DECODER.name: DECODER}
    return seeds, Judge(targets, folder / "worlds", folder / "scratch")


@pytest.fixture(scope="module", name="verdicts")
def _verdicts(made):
    """Outcomes in worker processes of 200 damaged inputs, of earlier findings in decoders, and of broken readers."""
    seeds, judge = made
    counts = shares(TARGETS, 200)
    new = [case for target in TARGETS for case in cases(target, seeds[target.name], counts[target.name], seed=1)]
    old = [case for case, _, _ in KEPT if case.target in BY_NAME and BY_NAME[case.target].decodes]
    broken = [Case(target.name, "a.txt", word.encode()) for target in (BROKEN, DECODER) for word in WORDS]
    start = time.monotonic()
    found = dict(judge_all(judge, [*broken, *new, *old], time_limit_s=6))
    assert time.monotonic() - start < 200
    return [{case: found[case] for case in part} for part in (new, old, broken)]


@pytest.mark.parametrize("name", BY_NAME)
def test_undamaged_files_are_read(made, name):
    seeds, judge = made
    assert seeds[name]
    for file, content in seeds[name].items():
        if (name, file) == ("video-decord", "vp8.ogv"):
            continue  # of which decord says that it does not know how long it is
        verdict = judge(Case(name, file, content), quiet=False)
        assert verdict.fault is None
        assert verdict.kind.startswith(READ)


def test_two_hundred_damaged_inputs_are_read_or_refused(verdicts):
    result = Result()
    for case, verdict in verdicts[0].items():
        result.add(case, verdict)
    assert result.outcomes.keys() == BY_NAME.keys()
    assert 190 <= result.inputs <= 220
    assert not result.faults, result.faults[0][1].fault
    assert len({signature for found in result.signatures.values() for signature in found}) > 50


@pytest.mark.parametrize(
    ("case", "label"), [pytest.param(case, label, id=f"{case.target}/{label}") for case, label, _ in KEPT]
)
def test_earlier_findings_are_read_or_refused_as_then(made, verdicts, case, label):
    target = BY_NAME.get(case.target) or pytest.skip("the reader is not installed")
    verdict = verdicts[1][case] if target.decodes else made[1](case, quiet=False)
    assert verdict.fault is None
    if not target.decodes:  # FFmpeg's reading of a file differs from version to version
        assert label.startswith(verdict.kind.split()[0])


@pytest.mark.parametrize("target", [BROKEN, DECODER], ids=lambda target: target.name)
def test_the_fuzzer_finds_the_faults_of_a_broken_reader(verdicts, target):
    found = {case.content.decode(): verdict for case, verdict in verdicts[2].items() if case.target == target.name}
    assert found.keys() == set(WORDS)
    assert {word for word, verdict in found.items() if verdict.fault} == {
        *("leak", "unnamed", "endless", "another"),
        *(() if target.decodes else ("die", "hang")),
    }
    assert (found["die"].outcome, found["hang"].outcome) == (DEATH, TIME_OUT)
    assert found["good"] == found["good too"] == Verdict(READ)
    assert "KeyError" in found["leak"].fault
    result = Result()
    for word, verdict in found.items():
        result.add(Case(target.name, "a.txt", word.encode()), verdict)
    assert result.outcomes[target.name]["fault"] == len(result.faults) == (4 if target.decodes else 6)


def test_an_input_that_shows_a_fault_is_made_smaller_and_kept(made, tmp_path):
    leak = Case("broken", "a.txt", b"leak of much more than is needed")
    less = smaller(made[1], leak, made[1](leak, quiet=False))
    assert less.content == b"leak"
    save(less, tmp_path, "KeyError")
    ((again, label, _),) = saved(tmp_path)
    assert again == less
    assert label.startswith("KeyError-")


def test_a_message_must_name_the_file_and_be_readable():
    assert refused(ValueError("a.txt: no"), (ValueError,), "a.txt") == "ValueError: a.txt: no"
    for err in (ValueError("no"), UnicodeDecodeError("utf-8", b"", 0, 1, "a.txt"), ValueError("a.txt" * 1000)):
        with pytest.raises(Fault):
            refused(err, (ValueError,), "a.txt")


@pytest.mark.parametrize("mutations", [BYTES, TEXT, JSON], ids=["bytes", "text", "json"])
def test_an_input_follows_from_its_number_and_is_never_undamaged(mutations):
    content = b'{"a": [1, "two", null],\n "b": {"c": 3.5}}\n' * 3
    made = [[mutate(random.Random(f"0/{i}"), content, [b"{}"], mutations) for i in range(300)] for _ in range(2)]
    assert made[0] == made[1]
    assert content not in made[0]
    assert len(set(made[0])) > 200
    assert mutate(random.Random(0), b"x", [], mutations) != b"x"
