"""What the tests see of the solution's objects: stand-ins whose every use is a request to the other process.

What the class of an object is was said before anything was asked of it, so that it cannot be suited to the question.
With data of the tests it is never compared on its own word: it would be told what is expected. Made by `session`.
"""

from __future__ import annotations

import builtins
import collections
import copy
import operator
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import decoys
from .wire import CannotCross

if TYPE_CHECKING:
    from .session import Session

_SCALARS = (type(None), bool, int, float, complex, str, bytes)
_QUESTIONS = frozenset(("eq", "lt", "le", "gt", "ge", "contains"))
_INPLACE = tuple(
    f"i{name}"
    for name in (
        "add",
        "sub",
        "mul",
        "matmul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "lshift",
        "rshift",
        "and",
        "or",
        "xor",
    )
)
_DISTANCES = frozenset(
    f"{prefix}{name}" for name in ("sub", "truediv", "floordiv", "mod", "xor", "and") for prefix in ("", "i")
) | {"divmod", "and_"}
"""Operations that say how far an object is from what is expected."""
_SUMS = frozenset(("add", "or_", "iadd", "ior"))
"""Operations that may, if what they are given is turned round; their objects are sums more often."""
_MUTABLE_BASES = frozenset(("list", "dict", "set", "UserDict", "UserList"))
BASES: dict[str, type] = {
    t.__name__: t
    for t in (
        tuple, list, dict, set, frozenset, str, bytes, int, float,
        collections.UserDict, collections.UserList, collections.UserString,
    )
}  # fmt: skip
# what data is asked about itself with yes or no for an answer
_PREDICATES = {n for t in BASES.values() for n in dir(t) if n.startswith("is")} | {"startswith", "endswith"}
# what answers with nothing, or with what it was given, where two sets are as they should be
_PREDICATES |= {"difference", "union", "intersection", "symmetric_difference"}
# values of the tests' kind, none of which anybody expects: who equals them all equals anything
_DECOYS: dict[type, tuple[Any, ...]] = {
    int: (-987_654_321_987, 876_543_210_987),
    float: (-9.87654321e17, 8.76543210e17),
    str: ("\x7fdecoy", "zzzz decoy"),
    bytes: (b"\x7fdecoy", b"zzzz"),
    list: ([-987_654_321], ["decoy"]),
    tuple: ((-987_654_321,), ("decoy",)),
    dict: ({"decoy": 1}, {-987_654_321: 2}),
    set: ({-987_654_321}, {"decoy"}),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of the solution, as it described it before anything was asked."""

    number: int
    name: str
    kin: tuple[int, ...]
    """Its own number and those of its bases, in their order."""
    lineage: tuple[str, ...]
    """The names of these, as `solution_server` writes them."""
    special: frozenset[str]
    doc: str | None = None


@dataclass(frozen=True, slots=True)
class Ref:
    """Where an object of the solution is, and what it was said to be."""

    session: Session
    number: int
    what: str
    """`function`, `async`, `class` or `object`."""
    name: str
    base: str | None
    """The builtin type whose data it holds."""
    kind: Kind
    hash: int | None = None


def ref(value: Any) -> Ref:
    found: Ref = object.__getattribute__(value, "_remote_")
    return found


def is_class(value: Any) -> bool:
    """Whether it is a class of the solution."""
    return type(value) is RemoteClass


_COMMON = frozenset((
    "math", "cmath", "typing", "collections", "collections.abc", "itertools", "functools", "re", "string", "operator",
    "heapq", "bisect", "random", "datetime", "decimal", "fractions", "statistics", "json", "copy", "enum",
    "dataclasses", "abc", "types", "numbers", "time", "calendar", "textwrap", "contextlib", "io", "os", "sys",
))  # fmt: skip
"""What the judge imports on the solution's word: nothing in it acts when it is imported."""


def known(module: Any) -> Any:
    """A module of the standard library that is loaded already, or that may be for the asking."""
    loaded = type(module) is str and module in sys.modules and not module.endswith("__main__")
    return standard(module) if loaded or module in _COMMON else None


def standard(module: Any) -> Any:
    """A module of the standard library by name; None for any other."""
    if type(module) is not str or module.split(".")[0] not in sys.stdlib_module_names:
        return None
    try:
        __import__(module)
    except ImportError:
        return None
    return sys.modules[module]


class StandIn(type):
    """Of classes that stand for one of the solution's: what they do not have, that one may."""

    def __getattr__(cls, name: str) -> Any:
        session: Any = cls.__dict__.get("_session_")
        if session is not None:
            session.refuse(f"the tests ask for {name} of the class {cls.__name__}")
        raise AttributeError(name)


class Remote(metaclass=StandIn):
    """An object that stayed in the solution's process."""

    __slots__ = ("__weakref__", "_plain_", "_remote_")

    def __init__(self, where: Ref) -> None:
        object.__setattr__(self, "_remote_", where)

    __dict__ = property(lambda self: Remote._ask(self, "getattr", "__dict__"))

    def _ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        return ref(self).session.request(operation, self, *args, **kwargs)

    def _value(self) -> Any:
        """The plain data of a subclass of a builtin type; asked for once where it cannot change, or two answers
        could suit two comparisons.
        """
        if ref(self).base in _MUTABLE_BASES:
            return Remote._ask(self, "plain")
        try:
            return object.__getattribute__(self, "_plain_")
        except AttributeError:
            object.__setattr__(self, "_plain_", Remote._ask(self, "plain"))
            return object.__getattribute__(self, "_plain_")

    def _base(self) -> type | None:
        return BASES.get(ref(self).base or "")

    def _speaks_for_itself(self) -> bool:
        """Only objects of classes that the tests speak of may be shown the tests' data."""
        where = ref(self)
        return not where.session.named.isdisjoint(where.kind.kin)

    def _answers_anything(self, operation: str, decoys: tuple[Any, ...]) -> bool:
        """Whether it gives one answer whatever it is asked about: nobody learns from that what is expected."""
        answers = []
        for decoy in decoys:
            try:
                answers.append(Remote._ask(self, operation, decoy))
            except Exception as problem:
                answers.append(type(problem).__name__)
        first = answers[0]
        if (
            first is NotImplemented
            or isinstance(first, str)
            or (operation in _QUESTIONS and first is not True)
        ):
            return first is NotImplemented and operation in _QUESTIONS
        return all(type(a) is type(first) and _alike(a, first) for a in answers)

    def _withhold(self, operation: str, other: Any) -> None:
        """Do not ask it about data of the tests; where it may be honest, no verdict hangs on that."""
        where = ref(self)
        strange = copy.deepcopy(
            _DECOYS.get(type(other), _DECOYS[str])
        )  # what the other side gets, it may change
        if not Remote._answers_anything(self, operation, strange):
            where.session.hinder(
                f"an object of the solution's class {where.kind.name} is compared with data of the tests"
            )

    def _has_heard(self, result: Any) -> None:
        """Data of the tests went into `result`: an object may have, a number could be whatever suits them."""
        session = ref(self).session
        if isinstance(result, Remote):
            session.made_with_test_data.add(ref(result).number)
        else:
            session.hinder(
                f"an object of the solution's class {ref(self).name} computes with data of the tests"
            )

    @property  # type: ignore[misc]  # isinstance(x, tuple) holds for a named tuple, as it would at home
    def __class__(self) -> Any:
        where = ref(self)
        if where.what == "object" and where.base is None:
            where.session.refuse(f"the tests ask what an object of {where.kind.name} is")
        return type if where.what == "class" else where.session.local_class(where)

    def __getattr__(self, name: str) -> Any:
        if name in _PREDICATES and not Remote._speaks_for_itself(self):
            if Remote._base(self) is None:
                Remote._withhold_predicate(self, name)
                raise AttributeError(f"an object of the solution's own may not answer {name}() about itself")
            return getattr(Remote._value(self), name)
        return Remote._ask(self, "getattr", name)

    def _withhold_predicate(self, name: str) -> None:
        answers = []
        for decoy in _DECOYS[str]:
            try:
                answers.append(Remote._ask(self, "getattr", name)(decoy))
            except Exception as problem:
                answers.append(type(problem).__name__)
        if answers != [True, True]:
            ref(self).session.hinder(f"{name}() of the solution's own object is not asked for")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        ref(self).session.unsplittable = "the tests derive a class from one of the solution's"
        raise CannotCross(ref(self).session.unsplittable)

    def __setattr__(self, name: str, value: Any) -> None:
        Remote._ask(self, "setattr", name, value)

    def __delattr__(self, name: str) -> None:
        Remote._ask(self, "delattr", name)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Remote):
            return self is other or Remote._same_data(self, other) or Remote._equals(self, other)
        if Remote._base(self) is not None:
            return bool(Remote._value(self) == other)
        if "__eq__" not in ref(self).kind.special:
            return False
        if Remote._speaks_for_itself(self) and type(other) not in _SCALARS:  # of those too few are like one
            return Remote._equals_among(self, other)
        Remote._withhold(self, "eq", other)
        return False

    def _same_data(self, other: Any) -> bool:
        both = Remote._base(self) is not None and Remote._base(other) is not None
        return both and bool(Remote._value(self) == Remote._value(other))

    def _equals_among(self, data: Any) -> bool:
        """Asked about data of the tests among others like it, in an order that it cannot know: only an object that
        knows which it equals says so of that one alone.
        """
        others = decoys.beside(data)
        answers = {
            place: Remote._ask(self, "eq", each) is True for place, each in decoys.shuffled([data, *others])
        }
        return answers.pop(0) and not any(answers.values())

    def _equals(self, other: Any) -> bool:
        """On its own word, unless it equals a text that nobody ever heard of as well."""
        if Remote._ask(self, "eq", other) is not True:
            return False
        try:
            return Remote._ask(self, "eq", "\x7fdecoy") is not True
        except Exception:  # the solution's: it cannot be compared with a text, and does not lie
            return True

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        if Remote._base(self) is not None:
            return hash(Remote._value(self))
        where = ref(self)
        if "__eq__" in where.kind.special and "__hash__" not in where.kind.special:
            raise TypeError(f"unhashable type: {where.name!r}")
        return where.number if where.hash is None else where.hash

    def __bool__(self) -> bool:
        if ref(self).kind.special.isdisjoint(("__bool__", "__len__")):
            return True
        return Remote._ask(self, "bool") is True

    def __str__(self) -> str:
        return str(Remote._ask(self, "str"))

    def __repr__(self) -> str:
        return str(Remote._ask(self, "repr"))

    def __format__(self, spec: str) -> str:
        if Remote._base(self) is not None:
            return format(Remote._value(self), spec)
        return str(Remote._ask(self, "format", spec))

    def __copy__(self) -> Any:
        return Remote._ask(self, "copy")

    def __deepcopy__(self, memo: Any) -> Any:
        return Remote._ask(self, "deepcopy")


class RemoteFunction(Remote):
    __slots__ = ("_texts_",)

    def __init__(self, where: Ref, texts: tuple[Any, ...] = (None, None, "solution")) -> None:
        super().__init__(where)
        object.__setattr__(self, "_texts_", texts)

    __name__ = property(lambda self: ref(self).name)
    __doc__ = property(lambda self: object.__getattribute__(self, "_texts_")[0])
    __module__ = property(lambda self: object.__getattribute__(self, "_texts_")[2])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if ref(self).what == "async":
            return self._coroutine(args, kwargs)
        return Remote._ask(self, "call", *args, **kwargs)

    async def _coroutine(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return Remote._ask(self, "await", *args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)


class RemoteClass(RemoteFunction):
    __slots__ = ()

    def __instancecheck__(self, value: Any) -> bool:
        if not isinstance(value, Remote) or ref(self).number in ref(value).kind.kin:
            return isinstance(value, Remote)
        if not _CHECKED_OTHERWISE.isdisjoint(ref(self).kind.lineage):
            ref(self).session.refuse(f"{ref(self).name} may know its instances by what they have")
        return False

    def __subclasscheck__(self, kind: Any) -> bool:
        if type(kind) is RemoteClass:
            return ref(self).number in ref(kind).kind.kin
        found = ref(self).session.kind_of(kind)
        return found is not None and ref(self).number in found.kin

    def __iter__(self) -> Iterator[Any]:
        found: Iterator[Any] = Remote._ask(self, "iter")
        return found

    def __len__(self) -> int:
        return int(Remote._ask(self, "len"))

    def __getitem__(self, key: Any) -> Any:
        return Remote._ask(self, "getitem", key)

    def __contains__(self, item: Any) -> bool:
        return any(item == each for each in self)


_CHECKED_OTHERWISE = frozenset(("typing:Protocol", "abc:ABC"))


def _alike(left: Any, right: Any) -> bool:
    return left is right or (not isinstance(left, Remote) and left == right) or isinstance(left, Remote)


def local_class(where: Ref) -> Any:
    """None, where it derives from nothing but `object`."""
    names = [name for name in where.kind.lineage if name != "object" and not name.startswith(":")]
    found = [kind for kind in map(_library_class, names) if kind is not None]
    if where.base in BASES and BASES[where.base] not in found:
        found.append(BASES[where.base])
    if not found:
        return None
    if not where.kind.lineage[:1] or not where.kind.lineage[0].startswith(":"):
        return found[0]
    bases = [k for k in found if not any(k is not other and issubclass(other, k) for other in found)]
    try:
        return types.new_class(where.kind.name, tuple(bases))
    except TypeError:  # of a class that cannot be derived from
        return found[0]


def _library_class(name: str) -> type | None:
    module, _, path = name.rpartition(":")
    if name == "generator":
        return types.GeneratorType
    found = getattr(known(module) if module else builtins, path, None) or getattr(
        types, _TYPE_NAMES.get(path, ""), None
    )
    return found if isinstance(found, type) else None


_TYPE_NAMES = {
    "coroutine": "CoroutineType", "async_generator": "AsyncGeneratorType", "module": "ModuleType", "mappingproxy":
    "MappingProxyType", "method": "MethodType", "function": "FunctionType", "builtin_function_or_method":
    "BuiltinFunctionType", "code": "CodeType", "frame": "FrameType", "traceback": "TracebackType", "cell": "CellType",
}  # fmt: skip


# --- what the objects of one class may be asked, if their class has it --------------------------------------------


def _forward(operation: str) -> Callable[..., Any]:
    return lambda self, *args: Remote._ask(self, operation, *args)


def _converted(operation: str, convert: Callable[[Any], Any] = lambda result: result) -> Callable[..., Any]:
    def apply(self: Remote, *args: Any) -> Any:
        result = Remote._ask(self, operation, *args)
        if ref(self).number in ref(self).session.made_with_test_data:
            Remote._has_heard(self, result)
        return convert(result)

    return apply


def _awaiting(operation: str) -> Callable[..., Any]:
    async def apply(self: Remote, *args: Any) -> Any:
        given = [_tellable(self, arg) for arg in args]
        return Remote._ask(self, operation, *given)

    return apply


def _tellable(self: Remote, value: Any) -> Any:
    """An exception class that the solution knows, or None."""
    return value if isinstance(value, type) and ref(self).session.can_name(value) else None


def _order(operation: str) -> Callable[..., Any]:
    def apply(self: Remote, other: Any) -> Any:
        if Remote._base(self) is not None:
            return getattr(Remote._value(self), f"__{operation}__")(_data_of(other))
        if isinstance(other, Remote):
            return Remote._ask(self, operation, other) is True
        Remote._withhold(self, operation, other)
        return NotImplemented

    return apply


def _binary(operation: str, reflected: bool) -> Callable[..., Any]:
    """With local data as the other operand the solution would be told what is expected, so only objects of classes
    that the tests name work it out themselves, and how far they are from it is an object again.
    """
    function = divmod if operation == "divmod" else getattr(operator, operation)

    def apply(self: Remote, other: Any) -> Any:
        if Remote._base(self) is not None and not Remote._speaks_for_itself(self):
            mine, theirs = Remote._value(self), _data_of(other)
            return function(theirs, mine) if reflected else function(mine, theirs)
        if not Remote._speaks_for_itself(self) and not isinstance(other, Remote):
            Remote._withhold(self, operation, other)
            return NotImplemented
        result = ref(self).session.request(operation, *((other, self) if reflected else (self, other)))
        told = operation in _DISTANCES or (operation in _SUMS and not isinstance(result, Remote))
        if told and not isinstance(other, Remote):
            Remote._has_heard(self, result)
        return result

    return apply


def _data_of(value: Any) -> Any:
    return Remote._value(value) if isinstance(value, Remote) and Remote._base(value) is not None else value


def _contains(self: Remote, item: Any) -> bool:
    if Remote._speaks_for_itself(self):
        return Remote._ask(self, "contains", item) is True
    if Remote._base(self) is not None:
        return item in Remote._value(self)
    if "__contains__" in ref(self).kind.special:
        Remote._withhold(self, "contains", item)
    if "__iter__" not in ref(self).kind.special:
        raise TypeError(f"argument of type {ref(self).kind.name!r} is not iterable")
    return any(item == each for each in self)  # type: ignore[attr-defined]  # its class has an __iter__


def _exit(self: Remote, kind: type[BaseException] | None, *_: object) -> bool:
    """Only a class that the tests speak of may swallow an exception, and none a failed assert."""
    told = kind if kind and issubclass(kind, Exception) and ref(self).session.can_name(kind) else None
    swallowed = Remote._ask(self, "exit", told, "") is True and Remote._speaks_for_itself(self)
    return swallowed and kind is not None and not issubclass(kind, AssertionError)


_FORWARDED = "next getitem setitem delitem reversed"
_ROUNDED = "round abs neg pos invert trunc floor ceil"
FORWARDS: dict[str, Any] = {
    **{f"__{name}__": _forward(name) for name in _FORWARDED.split()},
    **{f"__{name}__": _converted(name) for name in _ROUNDED.split()},
    **{
        f"__{name}__": _converted(name, convert)
        for name, convert in (("int", int), ("float", float), ("index", int), ("len", int))
    },
    **{f"__{name}__": _order(name) for name in ("lt", "le", "gt", "ge")},
    **{
        f"__{prefix}{name.rstrip('_')}__": _binary(name, reflected=bool(prefix))
        for name in (
            "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift",
            "and_", "or_", "xor", "divmod",
        )
        for prefix in ("", "r")
    },
    **{f"__{name}__": _binary(name, reflected=False) for name in _INPLACE},
    "__iter__": _forward("iter"),
    "__call__": RemoteFunction.__call__,
    "__contains__": _contains,
    "__enter__": _forward("enter"),
    "__exit__": _exit,
    **{f"__{name}__": _forward(name) for name in ("aiter", "complex", "bytes", "fspath")},
    **{f"__{name}__": _awaiting(name) for name in ("anext", "aenter", "aexit", "await")},
}  # fmt: skip
"""For objects whose class was not described, all of them."""
