"""The mutants of a module, by the operators of mutmut: one small change of its code each, none of its words."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, WhitespaceInclusivePositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_arg_removal, operator_assignment, operator_string

OPERATORS = [(kind, operator) for kind, operator in mutation_operators if operator is not operator_assignment]
"""All but "assign None instead", which stops the code at the next line."""

UNTOUCHED = (
    m.Annotation()
    | m.Decorator()
    | m.Import()
    | m.ImportFrom()
    | m.Raise()  # the text of an error
    | m.Assert()  # for the type checker
    | m.Expr(value=m.SimpleString() | m.ConcatenatedString())  # a docstring
    | m.Assign(value=m.Subscript(value=m.Name("Literal") | m.Name("Callable")))  # an alias of a type
    | m.Call(func=m.Attribute(value=m.Name("logger")))
    | m.Call(func=m.Name("isinstance"))
)
"""Code that is left alone, with all within it: types and words."""


@dataclass(frozen=True)
class Mutant:
    """A module with one change."""

    line: int
    before: str
    """The lines that the change touches, without indentation."""
    after: str
    source: str
    """Of the whole mutated module."""


class _Changes(cst.CSTVisitor):
    """Collects where the operators change a module, and the code that they put there."""

    METADATA_DEPENDENCIES = (WhitespaceInclusivePositionProvider,)

    def __init__(self, module: cst.Module) -> None:
        super().__init__()
        self.module = module
        self.found: list[tuple[cst.metadata.CodeRange, str]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if m.matches(node, UNTOUCHED):
            return False
        for kind, operator in OPERATORS:
            if isinstance(node, kind):
                place = self.get_metadata(WhitespaceInclusivePositionProvider, node)
                self.found += [(place, self.module.code_for_node(each)) for each in _replacements(node, operator)]
        return True


def _replacements(node: cst.CSTNode, operator) -> Iterator[cst.CSTNode]:
    """Apply an operator, without the variants that would say the same again."""
    changed = iter(operator(node))
    if operator is operator_string:  # the same string in capitals, too
        return islice(changed, 1)
    if operator is operator_arg_removal:  # None in the place of an argument, too
        return (each for each in changed if len(each.args) < len(node.args))
    return changed


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module that compiles, each once."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    changes = _Changes(wrapper.module)
    wrapper.visit(changes)
    lines = source.splitlines(keepends=True)
    seen = {source}
    for place, code in changes.found:
        (first, left), (last, right) = ((at.line - 1, at.column) for at in (place.start, place.end))
        changed = lines[first][:left] + code + lines[last][right:]
        mutated = "".join((*lines[:first], changed, *lines[last + 1 :]))
        if mutated not in seen and _compiles(mutated):
            seen.add(mutated)
            yield Mutant(first + 1, _flat("".join(lines[first : last + 1])), _flat(changed), mutated)


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _flat(code: str) -> str:
    return " ".join(line.strip() for line in code.splitlines())
