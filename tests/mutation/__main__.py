"""Mutate the core and run its tests: `python -m tests.mutation`, or `make mutation`. Ends with 1 where one survives."""

import argparse
import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from tests.mutation.core import CORE, Module
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.trial import NO_VERDICT, TIME_OUTS, Substitute, import_for, run_tests

HERE = Path(__file__).parent
EQUIVALENT = HERE / "equivalent.json"
"""Mutants that compute the same, by file: each as its line before and after, and why."""

OUTCOMES = ("killed", "timed_out", "survived", "equivalent")
"""The outcomes of a mutant; no test could notice an equivalent one."""

SPARE_S = 20.0
"""Seconds of computing that a trial may take beyond five times the duration of the tests without a mutation."""


def main() -> int:
    """Try the mutants of the modules asked for, print the survivors, and record the outcomes."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[module.file for module in CORE], help="files of the core")
    parser.add_argument("--quick", action="store_true", help="do not try survivors with the wider tests")
    parser.add_argument("--again", action="store_true", help="try only what survived, by the record in --out")
    parser.add_argument("--lines", nargs=2, type=int, metavar=("FIRST", "LAST"), help="mutate only these lines")
    parser.add_argument("--out", type=Path, help="JSON file whose entries of these modules are renewed")
    asked = parser.parse_args()
    survived = False
    for module in CORE:
        if module.file in asked.only:
            before = recorded(asked.out)[module.file] if asked.again else None
            result = judge(replace(module, wider=()) if asked.quick else module, before, asked.lines)
            survived |= bool(result["survivors"])
            if asked.out:
                renew(asked.out, module.file, {"command": command(asked, module), **result})
    return int(survived)


def command(asked: argparse.Namespace, module: Module) -> str:
    """Return the command line that tries a module's mutants."""
    lines = " --lines {} {}".format(*asked.lines) if asked.lines else ""
    return f"python -m tests.mutation --only {module.file}{lines}" + " --quick" * asked.quick


def judge(module: Module, before: dict[str, Any] | None, lines: tuple[int, int] | None) -> dict[str, Any]:
    """Try the mutants of a module, or of some of its lines, or those that survived before.

    Returns:
        Numbers of mutants by outcome, and by name those that no test notices and those that need none.
    """
    reasons = known_equivalent(module.file)
    counts = Counter({outcome: before[outcome] for outcome in OUTCOMES if outcome in before} if before else {})
    survivors, explained = [], before["explained"] if before else []
    chosen = {(each["before"], each["after"]) for each in before["survivors"]} if before else None
    counts["survived"] = 0
    for mutant, outcome in outcomes(module, chosen, lines):
        named = {"line": mutant.line, "before": mutant.before, "after": mutant.after}
        why = reasons.get((mutant.before, mutant.after))
        if outcome == "survived" and why:
            outcome = "equivalent"
            explained.append({**named, "why": why})
        elif outcome == "survived":
            survivors.append(named)
            print(f"{module.file}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}", flush=True)
        counts[outcome] += 1
    numbers = {outcome: counts[outcome] for outcome in OUTCOMES}
    print(f"{module.file}: {numbers}", flush=True)
    return {"mutants": counts.total(), **numbers, "survivors": survivors, "explained": explained}


def known_equivalent(file: str) -> dict[tuple[str, str], str]:
    """Return why mutants of a file compute the same, by their lines before and after.

    Raises:
        ValueError: If an entry of the list is no mutant of the file any longer.
    """
    listed = json.loads(EQUIVALENT.read_text(encoding="utf-8")).get(file, [])
    reasons = {(each["before"], each["after"]): each["why"] for each in listed}
    found = {(mutant.before, mutant.after) for mutant in mutants(Path(file).read_text(encoding="utf-8"))}
    if reasons.keys() - found:
        gone = "".join(f"\n  - {before}\n  + {after}" for before, after in reasons.keys() - found)
        raise ValueError(f"{EQUIVALENT.name} explains changes that are not made to {file}; remove them:{gone}")
    return reasons


def outcomes(
    module: Module, chosen: Collection[tuple[str, str]] | None, lines: tuple[int, int] | None
) -> Iterator[tuple[Mutant, str]]:
    """Try every mutant of a module, or those of the chosen lines before and after, or those between two lines.

    Raises:
        RuntimeError: If the tests fail without a mutation, or do not import the module.
    """
    path = Path(module.file)
    source = path.read_text(encoding="utf-8")
    files = [[f"tests/test_{name}.py" for name in names] for names in (module.tests, module.wider) if names]
    import_for(list(chain.from_iterable(files)), Substitute(module.name, path))
    stages = []
    for tests in files:
        status, seconds = run_tests(Substitute(module.name, path, source), tests, limit_s=600)
        if status:
            raise RuntimeError(f"{shlex.join(tests)} end with {status} on {path} as it is; they must pass")
        stages.append((tests, 5 * seconds + SPARE_S))
    for mutant in mutants(source):
        here = lines is None or lines[0] <= mutant.line <= lines[1]
        if here and (chosen is None or (mutant.before, mutant.after) in chosen):
            yield mutant, _outcome(Substitute(module.name, path, mutant.source), stages)


def _outcome(mutated: Substitute, stages: list[tuple[list[str], float]]) -> str:
    for tests, limit_s in stages:
        status, _ = run_tests(mutated, tests, limit_s)
        if status in NO_VERDICT:
            raise RuntimeError(f"{shlex.join(tests)} end with {status}, which says nothing of the mutant")
        if status:
            return "timed_out" if status in TIME_OUTS else "killed"
    return "survived"


def recorded(out: Path) -> dict[str, Any]:
    """Return the results of a record by module; none where there is no record."""
    return json.loads(out.read_text(encoding="utf-8"))["modules"] if out.exists() else {}


def renew(out: Path, file: str, result: dict[str, Any]) -> None:
    """Write the result of a module into the record, and the score of all."""
    from tats_gym.provenance import origin  # not before the trials: it is imported anew for each module

    record = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"modules": {}}
    origin_of_it = {name: origin()[name] for name in ("commit", "date")}
    modules = record["modules"] | {file: {**origin_of_it, **result}}
    modules = {module.file: modules[module.file] for module in CORE if module.file in modules}
    caught, survived = (
        sum(each.get(outcome, 0) for each in modules.values() for outcome in kinds)
        for kinds in (("killed", "timed_out"), ("survived",))
    )
    record = {
        "command": "python -m tests.mutation",
        "score": round(caught / (caught + survived), 4),
        "modules": modules,
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    part = out.with_suffix(f".{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(out)


if __name__ == "__main__":
    sys.exit(main())
