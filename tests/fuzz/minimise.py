"""Makes an input that shows something smaller, and keeps inputs as files."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.campaign import Case, Judge, Verdict

TRIES = 150
"""Steps of making an input smaller, each of which judges it anew."""


def smaller(judge: Judge, case: Case, verdict: Verdict) -> Case:
    """Leave out parts of an input, half of it first and single bytes last, as long as the same comes of it."""
    if verdict.lost or judge.targets[case.target].decodes:
        return case  # a part of it could bring down this process
    wanted, tries = _same(verdict), 0
    size = len(case.content) // 2
    while size and tries < TRIES:
        start = 0
        while start < len(case.content) and tries < TRIES:
            less = case._replace(content=case.content[:start] + case.content[start + size :])
            tries += 1
            if _same(judge(less, quiet=False)) == wanted:
                case = less
            else:
                start += size
        size //= 2
    return case


def _same(verdict: Verdict) -> tuple[str, str]:
    """Return the common part of two inputs' outcomes, if they show the same."""
    last = verdict.fault.splitlines()[-1] if verdict.fault else ""
    return verdict.signature, re.sub(r"\d+|'[^']*'", "*", last)[:80]


def once_each(found: list[tuple[Case, Verdict]], key: Callable[[Case, Verdict], object]) -> list[tuple[Case, Verdict]]:
    """Return the smallest of the inputs that have the same key."""
    least: dict[object, tuple[Case, Verdict]] = {}
    for case, verdict in sorted(found, key=lambda each: len(each[0].content)):
        least.setdefault(key(case, verdict), (case, verdict))
    return list(least.values())


def fault_of(case: Case, verdict: Verdict) -> tuple[str, ...]:
    """Return a key of faults: the target, and the fault without the parts that differ from file to file."""
    return case.target, *_same(verdict)


def save(case: Case, folder: Path, label: str) -> Path:
    """Keep a case as a file: folder/target/label-hash/file."""
    digest = hashlib.blake2b(case.content, digest_size=4).hexdigest()
    path = folder / case.target / f"{re.sub(r'[^A-Za-z0-9]+', '-', label).strip('-')[:40]}-{digest}" / case.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case.content)
    return path


def saved(folder: Path) -> list[tuple[Case, str, Path]]:
    """Return the cases that lie in a folder, with their labels and paths."""
    cases = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        target, label, *file = path.relative_to(folder).parts
        cases.append((Case(target, "/".join(file), path.read_bytes()), label, path))
    return cases
