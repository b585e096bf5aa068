"""Runs a campaign: many damaged inputs, each judged in a worker process with a time limit, and their outcomes."""

import os
import random
import re
import resource
import shutil
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.workers.pool import WorkerPool
from tats_gym.clips.workers.supervisor import TaskFailure
from tests.fuzz.mutators import mutate
from tests.fuzz.target import Target, refused

MEMORY = 6 * 2**30
"""Bytes that a process may take: the machine has to live on."""

DEATH, TIME_OUT = "the worker died", "the worker took too long"


class Case(NamedTuple):
    """One input: a target's file, and its content."""

    target: str
    file: str
    content: bytes


class Verdict(NamedTuple):
    """The outcome of a case."""

    outcome: str
    """`READ`, an error with its message, `DEATH` or `TIME_OUT`."""
    fault: str | None = None
    """The fault, or None."""

    @property
    def kind(self) -> str:
        """The outcome without the message."""
        return self.outcome.partition(":")[0]

    @property
    def lost(self) -> bool:
        """Whether it cost a worker."""
        return self.outcome in (DEATH, TIME_OUT)

    @property
    def signature(self) -> str:
        """The outcome without the parts that differ from file to file."""
        return re.sub(r"'[^']*'|\"[^\"]*\"|\[[^]]*\]|\{[^}]*\}|(/\S+)+|0x\w+|\d+|[^\x20-\x7e]+", "*", self.outcome)[
            :160
        ]


@dataclass(frozen=True)
class Judge:
    """Judges cases, in any process; picklable.

    Args:
        targets: By their names.
        worlds: Folder with the undamaged files of each.
        scratch: Folder for copies of them, one a process.
    """

    targets: dict[str, Target]
    worlds: Path
    scratch: Path

    def __call__(self, case: Case, *, quiet: bool = True) -> Verdict:
        """Return the outcome of a case; quietly, and with little memory, in a process with no other work."""
        target = self.targets[case.target]
        folder = self.scratch / str(os.getpid()) / target.name
        if quiet and not folder.parent.exists():
            _be_quiet_and_small()
        if not folder.exists():
            shutil.copytree(self.worlds / target.name, folder)
        file = folder / case.file
        file.write_bytes(case.content)
        try:
            return Verdict(target.check(folder, file))
        except VideoReadError as err:
            if target.decodes:
                refused(err, (VideoReadError,), file.name)
                raise
            return Verdict("VideoReadError", traceback.format_exc())
        except BaseException as err:
            return Verdict(type(err).__name__, _short(traceback.format_exc()))
        finally:
            shutil.copyfile(self.worlds / target.name / case.file, file)


def _be_quiet_and_small() -> None:
    """Discard the output of decoders and loggers, and refuse memory that a damaged header asks for."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _short(trace: str) -> str:
    lines = [line[:400] for line in trace.splitlines()]
    return "\n".join(lines if len(lines) < 40 else [*lines[:15], "...", *lines[-20:]])


@dataclass
class Result:
    """The outcomes of a campaign."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """Target to outcomes without their messages, to the number of inputs."""
    signatures: dict[str, set[str]] = field(default_factory=dict)
    """Target to outcomes with their messages, without the parts that differ from file to file."""
    faults: list[tuple[Case, Verdict]] = field(default_factory=list)
    """At most 200 of each target."""
    found: dict[tuple[str, str], tuple[Case, Verdict]] = field(default_factory=dict)
    """Target and signature to the smallest input that had it."""

    @property
    def inputs(self) -> int:
        """How many cases were judged."""
        return sum(outcomes.total() for outcomes in self.outcomes.values())

    def add(self, case: Case, verdict: Verdict) -> None:
        """Count a case."""
        counter = self.outcomes.setdefault(case.target, Counter())
        counter["fault" if verdict.fault else verdict.kind] += 1
        self.signatures.setdefault(case.target, set()).add(verdict.signature)
        if verdict.fault and sum(each.target == case.target for each, _ in self.faults) < 200:
            self.faults.append((case, verdict))
        key = case.target, verdict.signature
        if key not in self.found or len(case.content) < len(self.found[key][0].content):
            self.found[key] = case, verdict


def make_worlds(targets: Iterable[Target], folder: Path) -> dict[str, dict[str, bytes]]:
    """Write every target's undamaged files below a folder; returns, by target, those that are to be damaged."""
    seeds: dict[str, dict[str, bytes]] = {}
    for target in targets:
        world = folder / target.name
        world.mkdir(parents=True)
        target.make(world)
        files = sorted({path for pattern in target.damaged for path in world.rglob(pattern) if path.is_file()})
        seeds[target.name] = {str(path.relative_to(world)): path.read_bytes() for path in files}
    return seeds


def cases(target: Target, seeds: dict[str, bytes], count: int, seed: int) -> Iterator[Case]:
    """Damage a target's files; each case follows from the seed, the target's name and its own number."""
    files = sorted(seeds)
    for number in range(count):
        rng = random.Random(f"{seed}/{target.name}/{number}")
        file = files[number % len(files)]
        suffix = Path(file).suffix
        others = [content for name, content in seeds.items() if name != file and name.endswith(suffix)]
        yield Case(target.name, file, mutate(rng, seeds[file], others, target.mutations(file)))


def judge_all(
    judge: Judge, all_cases: Iterable[Case], *, num_workers: int = 2, time_limit_s: float = 10.0
) -> Iterator[tuple[Case, Verdict]]:
    """Judge cases in worker processes; one that dies or hangs is a fault, unless its target is a decoder."""
    coming = enumerate(all_cases)
    under_way: dict[int, Case] = {}
    with closing(WorkerPool(judge, num_workers, time_limit_s=time_limit_s, memory_limit_mib=2048)) as pool:
        while True:
            for number, case in islice(coming, 8 * num_workers - len(under_way)):
                under_way[number] = case
                pool.submit(number, case)
            if not under_way:
                return
            answer = pool.next()
            case = under_way.pop(answer.number)
            verdict = answer.result
            if isinstance(verdict, TaskFailure):
                verdict = _lost(verdict, judge.targets[case.target])
            yield case, verdict


def _lost(failure: TaskFailure, target: Target) -> Verdict:
    if "died" in failure.cause or "took more than" in failure.cause:
        outcome = DEATH if "died" in failure.cause else TIME_OUT
        return Verdict(outcome, None if target.decodes else failure.cause)
    return Verdict(f"VideoReadError: {failure.cause}")


def run(
    targets: Sequence[Target], counts: dict[str, int], folder: Path, *, seed: int, num_workers: int, time_limit_s: float
) -> Iterator[tuple[Case, Verdict]]:
    """Judge so many cases of each target, in a folder of its own."""
    seeds = make_worlds(targets, folder / "worlds")
    judge = Judge({target.name: target for target in targets}, folder / "worlds", folder / "scratch")
    queue = (case for target in targets for case in cases(target, seeds[target.name], counts[target.name], seed))
    yield from judge_all(judge, queue, num_workers=num_workers, time_limit_s=time_limit_s)
