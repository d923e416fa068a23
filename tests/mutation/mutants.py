"""All the mutants of a module, as mutmut's operators make them, and a sample of them by a seed.

Of mutmut only the operators are used. Its own runner leaves out what stands outside of functions,
and whatever is decorated; here one line of a table is as good as one line of a method.
"""

import ast
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper
from msgspec import Struct
from mutmut.mutation.mutators import mutation_operators

MODULE = "<module>"
"""The name of what belongs to no function and no class."""
Key = tuple[str, str, str, str]
_BLANK = (cst.BaseParenthesizableWhitespace, cst.TrailingWhitespace, cst.EmptyLine, cst.Comma)
_NOTHING = cst.Module([])


class Mutant(Struct, frozen=True):
    """One change of one module."""

    path: str
    start: int
    """Of the text that is replaced, in bytes."""
    end: int
    text: str
    function: str
    """Qualified name of the innermost function or class around it."""
    line: int
    last: int
    """First and last line of its statement; of a compound one, of its head."""

    def of(self, package: str) -> bool:
        """Whether its module is in a folder, or in one of its folders."""
        return self.path.startswith(f"{package}/")

    def source(self) -> str:
        """The whole module with the change."""
        whole = Path(self.path).read_bytes()
        return (whole[: self.start] + self.text.encode() + whole[self.end :]).decode()

    def compiles(self) -> bool:
        """Some operators leave what is no Python; nobody could write that, so it is no mutant."""
        try:
            compile(self.source(), self.path, "exec", dont_inherit=True)
        except SyntaxError:
            return False
        return True

    def diff(self) -> tuple[list[str], list[str]]:
        """Lines that change, before and after."""
        old, new = Path(self.path).read_text().splitlines(), self.source().splitlines()
        while old and new and old[-1] == new[-1]:
            del old[-1], new[-1]
        same = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
        first = min(len(old), len(new)) if same is None else same
        return old[first:], new[first:]

    def key(self) -> Key:
        """What stays the same wherever the function stands: path, function, before and after."""
        before, after = (" ".join(map(str.strip, lines)) for lines in self.diff())
        return self.path, self.function, before, after


class Place(Struct, frozen=True):
    """Where a line of code stands: see `Mutant`."""

    function: str
    line: int
    last: int


def _head(node: ast.stmt) -> tuple[int, int]:
    first, last = node.lineno, node.end_lineno or node.lineno
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        first = min([first, *(each.lineno for each in node.decorator_list)])
    inner: list[ast.stmt] = getattr(node, "body", [])
    if isinstance(node, ast.Match):
        return first, max(first, node.cases[0].pattern.lineno - 1)
    return first, max(first, inner[0].lineno - 1) if inner else last


def _clauses(node: ast.stmt) -> Iterator[tuple[int, int]]:
    """Heads inside of a compound statement that are no statements: ``except`` and ``case``."""
    if isinstance(node, ast.Try | ast.TryStar):
        for handler in node.handlers:
            yield handler.lineno, max(handler.lineno, handler.body[0].lineno - 1)
    if isinstance(node, ast.Match):
        for case in node.cases:
            yield case.pattern.lineno, max(case.pattern.lineno, case.body[0].lineno - 1)


def places(source: str) -> dict[int, Place]:
    """For each line that code stands on: the function around it, and the lines of its statement."""
    found: dict[int, Place] = {}

    def visit(node: ast.AST, function: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = function
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = child.name if function == MODULE else f"{function}.{child.name}"
            if isinstance(child, ast.stmt):
                for first, last in (_head(child), *_clauses(child)):
                    place = Place(inner, first, last)
                    found.update(dict.fromkeys(range(first, last + 1), place))
            visit(child, inner)

    visit(ast.parse(source), MODULE)
    return found


def _is_left_out(node: cst.CSTNode) -> bool:
    """What no program can notice: annotations, docstrings, ``if TYPE_CHECKING``, ``__all__``."""
    match node:
        case cst.Annotation() | cst.Import() | cst.ImportFrom():
            return True
        case cst.Expr(value=cst.SimpleString() | cst.ConcatenatedString()):
            return True
        case cst.If(test=cst.Name("TYPE_CHECKING")):
            return True
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name("__all__"))]):
            return True
        case cst.Call(func=cst.Name("cast")):
            return True
    return isinstance(node, _BLANK)


class _Finder(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (ByteSpanPositionProvider,)

    def __init__(self, module: cst.Module, source: bytes) -> None:
        super().__init__()
        self.found: dict[tuple[int, int, str], None] = {}
        self._module = module
        self._source = source

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _is_left_out(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                for mutated in operator(node):
                    self._add(node, mutated)
        return True

    def _add(self, node: cst.CSTNode, mutated: cst.CSTNode) -> None:
        if isinstance(node, cst.Match):
            # Its cases are indented, which a node alone does not know.
            changed = self._module.with_deep_changes(node, cases=getattr(mutated, "cases"))  # noqa: B009
            self.found[0, len(self._source), changed.code] = None
            return
        span = self.get_metadata(ByteSpanPositionProvider, node)
        start, end = span.start, span.start + span.length
        if getattr(node, "lpar", ()) and getattr(mutated, "lpar", ()) == getattr(node, "lpar", ()):
            mutated = mutated.with_changes(lpar=(), rpar=())
        text = _NOTHING.code_for_node(mutated)
        if self._source[start : start + 1] not in b" \t":
            text = text.strip()
        if text.encode() != self._source[start:end]:
            self.found[start, end, text] = None


def mutants(path: str) -> list[Mutant]:
    """All of one module, by their place."""
    source = Path(path).read_bytes()
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    finder = _Finder(wrapper.module, source)
    wrapper.visit(finder)
    where = places(source.decode())
    result = []
    for start, end, text in sorted(finder.found):
        old, new = source[start:end], text.encode()
        pairs = enumerate(zip(old, new, strict=False))
        at = next((n for n, (a, b) in pairs if a != b), 0) if len(old) == len(source) else start
        line = source.count(b"\n", 0, at) + 1
        place = where[line]
        result.append(Mutant(path, start, end, text, place.function, place.line, place.last))
    return result


def population(packages: Sequence[str], only: str = "") -> dict[str, list[Mutant]]:
    """By package, all that are possible in modules whose paths contain ``only``."""
    paths = {
        package: sorted(file.as_posix() for file in Path(package).rglob("*.py"))
        for package in packages
    }
    return {
        package: [mutant for path in each if only in path for mutant in mutants(path)]
        for package, each in paths.items()
    }


def sample(possible: dict[str, list[Mutant]], count: int, seed: int) -> list[Mutant]:
    """``count`` of them, from each package in proportion to what it has; the same for a seed."""
    total = max(1, sum(map(len, possible.values())))
    shares = {package: count * len(all_) / total for package, all_ in possible.items()}
    taken = {package: int(share) for package, share in shares.items()}
    by_rest = sorted(shares, key=lambda package: (taken[package] - shares[package], package))
    for package in by_rest[: min(count, total) - sum(taken.values())]:
        taken[package] += 1
    chosen = []
    for package, all_ in possible.items():
        order = random.Random(f"{seed} {package}").sample(all_, len(all_))
        valid = (mutant for mutant in order if mutant.compiles())
        chosen += sorted(
            (mutant for mutant, _ in zip(valid, range(taken[package]), strict=False)),
            key=lambda mutant: (mutant.path, mutant.start, mutant.text),
        )
    return chosen
