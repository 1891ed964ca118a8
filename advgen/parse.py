"""Reply text -> subtopics, statement, program, calls, asserts. Pure: reads text as text and syntax trees, runs nothing.

What a model sends is hostile and often malformed. Everything here either returns a clean value or raises `ParseError`,
whose message becomes the recorded reason of the row.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import re
import typing
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from advcore import chat, literals
from advcore.chat.program import missing, needed
from advcore.chat.syntax import (
    MAX_SOURCE_CHARS,
    UNPARSABLE,
    distinct,
    first_line,
    is_stub,
    module_of,
    parsed,
    parts_of,
    reads,
)

MAX_PROSE = 4_000  # characters of a docstring that are looked through for examples
# Of examples in prose: what stands between a call and its result; "For n = 2 and k = 3, return "; a value, and what may
# follow it for the sentence to be about that value alone.
_SAYS = re.compile(
    r"[`'\"]*\s*(?:(?:should|must|will|would)\s+)?"
    r"(?:==|=>|->|➞|→|=|(?:returns?|gives?|is|yields?|equals?|results in)\b)\s*"
)
_GIVEN = re.compile(
    r"(?:^|(?<=[.;\n] )|(?<=\n))(?:And |and |- )?(?:for|if|when)\s+"
    r"(?P<given>(?:(?!\b(?:for|if|when|with)\s)[^\n]){1,200}?),\s*"
    r"(?:(?:it|the result|the function|the output)\s+)?(?:(?:should|must|will)\s+)?(?:returns?|is|gives?)\s+",
    re.IGNORECASE | re.MULTILINE,
)
_BINDING = re.compile(
    r"`?(?P<name>[^\W\d]\w*)`?\s*(?:==|=|is)\s*`?(?P<value>.+?)`?\s*(?=$|(?:,|,?\s*and\b)\s*`?\w+`?\s*(?:==|=|is)\s)"
)
_VALUE = re.compile(
    r"`?\s*(?:(?P<word>-?\d+(?:\.\d+)?|True|False|None|'[^'\n]*'|\"[^\"\n]*\")|(?P<open>[\[({]))"
)
_ENDS = re.compile(
    r"`?\s*(?:$|\n|\.(?:\s|$)|;|\)|,\s+(?!-?\d|or\b)[a-z]|#|(?:because|since|as)\b|and\s+\w+\()"
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MAX_DEPTH = 80  # of a syntax tree; people stay below 30
_MOST_LINES = 40  # of one call
_MOST_CALLS = 500  # of one reply: each is run on every solution
LEAST_CHARS = 40  # of a docstring that is to state an exercise


class ParseError(ValueError):
    """A reply that does not hold what it was asked for; the text is the reason, in a few words."""


@dataclass(frozen=True, slots=True)
class Statement:
    """An exercise as the student sees it: signature and docstring, and above them the names that these need."""

    entry_point: str
    stub: str
    parameters: tuple[str, ...]

    @property
    def function(self) -> ast.FunctionDef:
        """The syntax tree of signature and docstring."""
        return [node for node in tree(self.stub).body if isinstance(node, ast.FunctionDef)][-1]

    @property
    def above(self) -> str:
        """What stands above the function: imports, aliases, constants, helpers."""
        return "\n".join(self.stub.split("\n")[: first_line(self.function) - 1]).strip("\n")

    @property
    def given(self) -> str:
        """The same, where it is more than imports, which whoever solves the exercise writes without being told."""
        nodes = tree(self.above).body
        return "" if all(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes) else self.above

    @property
    def signature(self) -> str:
        """The `def` line, on one line, without its colon."""
        return ast.unparse(self.function).split('"""')[0].strip().removesuffix(":")

    @property
    def types(self) -> tuple[str, ...]:
        """The annotations of the parameters in order, and of the result; '' where there is none."""
        function = self.function
        given = [each.annotation for each in [*function.args.posonlyargs, *function.args.args]]
        return tuple(ast.unparse(each) if each else "" for each in [*given, function.returns])

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring, on one line."""
        return " ".join(self.docstring.split("\n\n")[0].split())

    @property
    def docstring(self) -> str:
        """The text of the statement, its examples included."""
        return (ast.get_docstring(self.function) or "").strip()


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the entry point with literal positional arguments."""

    source: str
    args: tuple[Any, ...]


class Claim(NamedTuple):
    """What somebody says that a call comes to."""

    call: Call
    outcome: literals.Outcome


def subtopics(text: str) -> list[str]:
    """The items of a numbered or bulleted list, without their marks; none repeated, none only thought of."""
    items = re.findall(
        r"^[^\S\n]*(?:\d+[.)]|[-*])[^\S\n]++(.{3,120}?)[^\S\n]*$", chat.read(text).answer, re.MULTILINE
    )
    clean = [re.sub(r"[*_`]", "", item).strip(" .") for item in items]
    return list(dict.fromkeys(item for item in clean if item))


def answered(text: str) -> str:
    """What a reply answers, without its thoughts. Raises ParseError where that is nothing."""
    with _reasons():
        return chat.answer(text)


def code_block(text: str, entry_point: str = "", **how: Any) -> str:
    """The code of a reply, as `chat.program` finds it, which takes the keywords too. Raises ParseError."""
    with _reasons():
        return chat.program(text, entry_point, **how)


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    try:
        yield
    except chat.NoCode as error:
        raise ParseError(str(error)) from None


def tree(source: str, most_chars: int = MAX_SOURCE_CHARS) -> ast.Module:
    """The syntax tree, or ParseError naming the kind of error."""
    if len(source) > most_chars:
        raise ParseError("too long")
    try:
        module = module_of(source)
    except UNPARSABLE as error:
        raise ParseError(f"syntax error: {type(error).__name__}") from None
    _check_size(module)
    return module


def _check_size(module: ast.Module) -> None:
    """Refuse trees that would break who walks, copies or prints them."""
    level: list[ast.AST] = [module]
    for _ in range(MAX_DEPTH):
        if any(isinstance(node, ast.Constant) and _is_huge(node.value) for node in level):
            raise ParseError("a number of over 1000 digits")
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ParseError("nested too deep")


def _is_huge(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 10**1000


def statement(text: str) -> Statement:
    """An exercise: one function with a docstring. A body that was written all the same is cut off, whole or not; so is
    the last example of a reply that ends among its examples. Names that signature or docstring need stay above it.
    """
    found = _statement(code_block(text, fits=_states, truncated=True), LEAST_CHARS)
    if unknown := missing(found.stub):
        raise ParseError(f"the signature names {', '.join(sorted(unknown))}, which nothing defines")
    return found


def stored(stub: str) -> Statement:
    """The exercise of a `stub` column: examples that did not hold were cut, so that little may be left."""
    return _statement(stub, 1)


def _states(code: str) -> bool:
    """Whether code holds a function with a docstring; what does not parse, one with a text behind it."""
    if module := parsed(code):
        return any(isinstance(node, ast.FunctionDef) and ast.get_docstring(node) for node in module.body)
    begin = re.search(r"^def\b", code, re.MULTILINE)
    return begin is not None and re.search(r"\"{3}|'{3}", code[begin.start() :]) is not None


def _statement(source: str, least: int) -> Statement:
    if len(source) > MAX_SOURCE_CHARS:  # what follows takes the square of that
        raise ParseError("too long")
    module = _stated_module(source)
    function = _stated(module, least)
    if function.name.startswith("_") or function.decorator_list:
        raise ParseError("private or decorated function")
    docstring = _text_of(function)
    if '"""' in docstring:
        raise ParseError("docstring cannot be quoted")
    return Statement(function.name, _stub(module, function, docstring), _positional(function.args))


def _stated_module(source: str) -> ast.Module:
    """The syntax tree; of what does not parse, that of all up to the end of the first docstring."""
    try:
        return tree(source)
    except ParseError:
        header = re.match(r".*?^def .*?(\"{3}|'{3})(?:.*?(\1)|.*(?=>>>))", source, re.DOTALL | re.MULTILINE)
        if header is None:
            raise
        return tree(header[0] + ("" if header[2] else header[1]))


def _stated(module: ast.Module, least: int) -> ast.FunctionDef:
    """The one function with a docstring of `least` characters; of several the one without a body, else the one that no
    other of them names: those are its helpers.
    """
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    told = [node for node in functions if len(text := _text_of(node)) >= least and outline(text)]
    named = {id(node): reads([node]) | _words(_text_of(node)) for node in told}
    asked = [node for node in functions if is_stub(node) and _text_of(node)]
    found = asked or [
        node for node in told if not any(node.name in named[id(other)] for other in told if other is not node)
    ]
    if len(found) == 1 and found[0] in told:
        return found[0]
    if len(functions) == 1:
        raise ParseError("no docstring")
    raise ParseError(f"{len(functions)} functions instead of one")


def _words(text: str) -> set[str]:
    """What may be a name."""
    return set(re.findall(r"[^\W\d]\w*", text))


def _text_of(function: ast.FunctionDef) -> str:
    return "\n".join(line.rstrip() for line in (ast.get_docstring(function) or "").splitlines()).strip()


def _stub(module: ast.Module, function: ast.FunctionDef, docstring: str) -> str:
    """The function with that docstring and no body, below what it needs of `module`. Changes the function."""
    function.body = [ast.Pass()]
    head = _above(module.body[: module.body.index(function)], function, docstring)
    lines = [("    " + line).rstrip() for line in docstring.replace("\\", "\\\\").splitlines()]
    text = "\n".join(lines).lstrip()
    bare = ast.unparse(ast.Module([*head, function], [])).removesuffix("pass")
    return f'{bare}"""{text}\n    """'


def _above(before: Sequence[ast.stmt], function: ast.FunctionDef, docstring: str) -> list[ast.stmt]:
    """The imports, and what signature or docstring name; `typing` is imported where that was forgotten."""
    parts = parts_of(ast.Module([*before], []))
    wanted = {id(part.node) for part in needed(parts, missing(ast.unparse(function)) | _words(docstring))}
    kept = [node for node in before if isinstance(node, ast.Import | ast.ImportFrom) or id(node) in wanted]
    lacking = missing(ast.unparse(ast.Module([*kept, function], []))) & set(typing.__all__)
    if lacking:
        place = next((at for at, node in enumerate(kept) if not chat.of_the_future(node)), len(kept))
        kept.insert(place, ast.ImportFrom("typing", [ast.alias(name) for name in sorted(lacking)], 0))
    return kept


def _positional(arguments: ast.arguments) -> tuple[str, ...]:
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
        raise ParseError("starred or keyword-only parameters")
    names = tuple(argument.arg for argument in [*arguments.posonlyargs, *arguments.args])
    if not names:
        raise ParseError("no parameters")
    return names


def reference(text: str) -> str:
    """A program with one function, besides those that it calls, that an exercise can be written from."""
    source = code_block(text)
    name = _exercised(tree(source))
    return chat.trimmed(source, name)


def _exercised(module: ast.Module) -> str:
    """The one function that no other reads; `main` and tests, which have no parameters, do not count."""
    functions = {node.name: node for node in module.body if isinstance(node, _FUNCTIONS)}
    if len(functions) > 1:
        functions = {
            name: node for name, node in functions.items() if node.args.args or node.args.posonlyargs
        }
    read = {name: reads([node]) for name, node in functions.items()}
    found = [
        node
        for name, node in functions.items()
        if not any(name in names for other, names in read.items() if other != name)
    ]
    if len(found) != 1:
        raise ParseError(f"{len(found)} functions instead of one")
    (function,) = found
    if isinstance(function, ast.AsyncFunctionDef) or function.name.startswith("_") or function.decorator_list:
        raise ParseError("private, decorated or asynchronous function")
    if _positional(function.args)[0] in ("self", "cls"):
        raise ParseError("a method")
    return function.name


def standalone(source: str, function: ast.FunctionDef | ast.AsyncFunctionDef, module: ast.Module) -> str:
    """A function of a module, with the imports, constants and helpers that it needs of it."""
    kept = {id(part.node) for part in needed(parts_of(module), {function.name})}
    lines = source.split("\n")
    nodes = [node for node in module.body if id(node) in kept]
    return "\n".join("\n".join(lines[first_line(node) - 1 : node.end_lineno]) for node in nodes)


def is_of(exercise: Statement, code: str) -> bool:
    """Whether a statement is one of what `reference` found in `code`: its name, and its parameters by name."""
    module = tree(code)
    name = _exercised(module)
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    return (exercise.entry_point, exercise.parameters) == (name, _positional(functions[name].args))


def program(text: str, entry_point: str, above: str = "") -> str:
    """A solution as it was written: code that defines `entry_point` at its top level. Names that it needs and that
    stand `above` the function in the statement are put above it.
    """
    source = code_block(text, entry_point, given=above)
    tree(source)
    if not chat.defines(source, entry_point):
        raise ParseError("no such function")
    return source


def forms(code: str, entry_point: str) -> list[str]:
    """The forms in which a program may be run: without talk and without the docstrings of its functions, which repeat
    the statement on one side of a pair only; as it was written; without talk. None twice. Raises ParseError.
    """
    trimmed = chat.trimmed(code, entry_point)
    return distinct([_without_docstrings(trimmed), code, trimmed])


def _without_docstrings(source: str) -> str:
    lines = source.split("\n")
    functions = [
        node for node in ast.walk(tree(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for function in sorted(functions, key=lambda node: -node.lineno):
        text, after = function.body[0], function.body[1:2]
        # Left where nothing else would be left, or where another statement shares its line.
        alone = not after or after[0].lineno == text.end_lineno or text.lineno == function.lineno
        if ast.get_docstring(function, clean=False) is not None and not alone:
            del lines[text.lineno - 1 : text.end_lineno]
    return "\n".join(lines)


def calls(text: str, exercise: Statement) -> list[Call]:
    """The literal calls of the entry point that fit its number of parameters; others are dropped, none repeated."""
    found: dict[str, Call] = {}
    for statement in _statements(_listed(text), exercise.entry_point):
        for node in ast.walk(statement):
            if call := _call(node, exercise):
                found.setdefault(call.source, call)
    if len(found) > _MOST_CALLS:
        raise ParseError(f"over {_MOST_CALLS} calls")
    return list(found.values())


def asserts(text: str, exercise: Statement) -> list[Claim]:
    """What a reply's asserts claim: `assert f(...) == literal`, `assert f(...)` and `assert not f(...)` for a bool, and
    a call in a `with pytest.raises(ValueError):`.
    """
    return _asserted(_listed(text), exercise)


def _asserted(code: str, exercise: Statement) -> list[Claim]:
    found: dict[str, Claim] = {}
    for node in _statements(code, exercise.entry_point):
        claim = None
        if isinstance(node, ast.Assert):
            claim = _claim(node.test, exercise)
        elif isinstance(node, ast.With) and len(node.body) == 1 and isinstance(node.body[0], ast.Expr):
            claim = _raising(node.items[0].context_expr, node.body[0].value, exercise)
        if claim:
            found.setdefault(claim.call.source, claim)
    return list(found.values())


def outline(stub: str) -> str:
    """A stub without its examples and blank lines: the same before and after some of them are cut. Text only."""
    kept, inside = [], False
    for line in stub.splitlines():
        bare = line.strip()
        inside = bare.startswith(">>>") or (inside and bare not in ("", '"""'))
        if bare and not inside:
            kept.append(line)
    return "\n".join(kept)


def examples(exercise: Statement) -> list[Claim]:
    """The examples of the statement: those of doctests, then those in prose, as far as they can be read."""
    told = [_example(example, exercise) for example in _doctests(exercise.docstring) or []]
    found = {claim.call.source: claim for claim in told if claim}
    for claim in _in_prose(exercise):
        found.setdefault(claim.call.source, claim)
    return list(found.values())


def _example(example: doctest.Example, exercise: Statement) -> Claim | None:
    """What a doctest says, None where it is no call with literals, or shows no literal."""
    call = _call_of(example.source.strip(), exercise)
    if example.exc_msg is not None:
        name = example.exc_msg.partition(":")[0].strip()
        return Claim(call, literals.Raised(name)) if call and name in literals.RAISABLE else None
    return _returns(call, example.want.strip())


def _call_of(source: str, exercise: Statement) -> Call | None:
    try:
        return _call(ast.parse(source, mode="eval").body, exercise)
    except UNPARSABLE:
        return None


def _returns(call: Call | None, text: str) -> Claim | None:
    try:
        value = literals.text_of(literals.value_of(text))
    except ValueError:
        return None
    return Claim(call, literals.Returned(value)) if call and value else None


def _in_prose(exercise: Statement) -> Iterator[Claim]:
    """`f(2) returns [0, 1]`, `f(2) == [0, 1]`, or `For n = 2, return [0, 1]` with every parameter by its name. Only
    what stands alone: no call in an equation (`2 * f(3) = 6`), no value that the text goes on about (`3 elements`).
    """
    text, name = outline(exercise.docstring)[:MAX_PROSE], exercise.entry_point
    for found in re.finditer(
        rf"(?:^|(?<=[\s`(:;]))(?<![-+*/=<>%^] )(?<!that ){re.escape(name)}\(", text, re.MULTILINE
    ):
        call = _balanced(text[found.start() :])
        if call and (said := _SAYS.match(text, found.start() + len(call))):
            yield from _stated_claims(call, text[said.end() :], exercise)
    for found in _GIVEN.finditer(text):
        given = {each["name"]: each["value"] for each in _BINDING.finditer(found["given"])}
        if given.keys() == set(exercise.parameters):
            call = f"{name}({', '.join(given[each] for each in exercise.parameters)})"
            yield from _stated_claims(call, text[found.end() :], exercise)


def _stated_claims(call: str, rest: str, exercise: Statement) -> Iterator[Claim]:
    found = _VALUE.match(rest)
    if not found:
        return
    literal = found[0] if found["word"] else _balanced(rest[found.start("open") :])
    end = found.start("open") + len(literal) if found["open"] else found.end()
    claim = _returns(_call_of(call, exercise), literal.strip("` ")) if literal else None
    if claim and _ENDS.match(rest, end):
        yield claim


def _balanced(text: str) -> str:
    """What a text begins with, up to the end of its first bracket; '' where that is not closed on its line."""
    depth, quote = 0, ""
    for at, letter in enumerate(text[:500].partition("\n")[0]):
        if quote:
            quote = "" if letter == quote and text[at - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if depth == 0:
                return text[: at + 1]
    return ""


def with_examples(exercise: Statement, keep: Container[str]) -> Statement:
    """The statement without those of its doctests whose calls are not in `keep`, or that cannot be read."""
    lines, found = exercise.docstring.splitlines(), _doctests(exercise.docstring)
    for example in reversed(found or []):
        claim = _example(example, exercise)
        if not (claim and claim.call.source in keep):
            height = example.source.count("\n") + example.want.count("\n")
            del lines[example.lineno : example.lineno + height]
    text = outline(exercise.docstring) if found is None else "\n".join(lines).strip()
    module = tree(exercise.stub)
    function = [node for node in module.body if isinstance(node, ast.FunctionDef)][-1]
    return replace(exercise, stub=_stub(module, function, text))


def _doctests(docstring: str) -> list[doctest.Example] | None:
    """The examples, `lineno` counting lines from 0; None where one is malformed and no end can be trusted."""
    try:
        found = doctest.DocTestParser().get_examples(docstring)
    except ValueError:
        return None
    return [example for example in found if example.want]


def _listed(text: str) -> str:
    """The code of all blocks of a reply. Raises ParseError."""
    with _reasons():
        return chat.listing(text)


def _statements(code: str, entry_point: str) -> Iterator[ast.stmt]:
    """The statements that name the entry point, each read alone: a broken one must not cost the rest. A call may stand
    behind a number or a prompt, and go on over several lines as long as a bracket is open.
    """
    with contextlib.suppress(ParseError):
        yield from (node for node in tree(code).body if entry_point in ast.unparse(node))
        return
    lines = code.splitlines()
    while lines:
        part = re.sub(r"^\s*(?:\d+[.)]\s+|>>>\s*|[-*]\s+)?", "", lines.pop(0))
        if entry_point not in part:
            continue
        for _ in range(_MOST_LINES):
            if not lines or _open_brackets(part) <= 0 or entry_point in lines[0]:
                break
            part += "\n" + lines.pop(0)
        if len(part) <= 2_000 and (module := parsed(part)):
            yield from module.body


def _open_brackets(text: str) -> int:
    code = re.sub(r"'[^'\n]*'|\"[^\"\n]*\"", "", text)
    return sum(map(code.count, "([{")) - sum(map(code.count, ")]}"))


def _claim(test: ast.expr, exercise: Statement) -> Claim | None:
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is):
        call, literal = _call(test.left, exercise), _literal(test.comparators[0])
        text = literals.text_of(literal[0]) if literal else ""
        return Claim(call, literals.Returned(text)) if call and text else None
    negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    call = _call(test.operand if negated else test, exercise)  # type: ignore[attr-defined]
    return Claim(call, literals.Returned(str(not negated))) if call else None


def _raising(context: ast.expr, act: ast.expr, exercise: Statement) -> Claim | None:
    """`with pytest.raises(ValueError):` or `self.assertRaises` around a call."""
    if not (isinstance(context, ast.Call) and context.args and isinstance(context.args[0], ast.Name)):
        return None
    expects = ast.unparse(context.func).rpartition(".")[2] in ("raises", "assertRaises")
    call, name = _call(act, exercise), context.args[0].id
    return Claim(call, literals.Raised(name)) if expects and call and name in literals.RAISABLE else None


def _call(node: ast.AST, exercise: Statement) -> Call | None:
    """`node` as a Call with keywords put in their places, if it is one of the entry point with literal arguments."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return None
    if node.func.id != exercise.entry_point or any(isinstance(arg, ast.Starred) for arg in node.args):
        return None
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    rest = exercise.parameters[len(node.args) :]
    if len(node.args) > len(exercise.parameters) or set(named) != set(rest[: len(named)]):
        return None
    given = [_literal(arg) for arg in [*node.args, *(named[name] for name in rest[: len(named)])]]
    if not given or any(literal is None for literal in given):
        return None
    args = tuple(literal[0] for literal in given if literal)
    source = literals.call_text(exercise.entry_point, args)
    return Call(source, args) if source else None


def _literal(node: ast.expr) -> tuple[Any] | None:
    """The value in a 1-tuple, or None for what is no literal."""
    try:
        return (literals.value_of(node),)
    except ValueError:
        return None
