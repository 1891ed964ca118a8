"""The house itself: import directions, light --help, one importer a heavy library, configs that parse and are read."""

import ast
import dataclasses
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from advcore import settings

ROOT = Path(__file__).parent.parent
OURS = ("advgen", "advtrain", "advcore", "sandbox", "advdistill")
MAY_IMPORT = {
    "sandbox": {"sandbox"},
    "advcore": {"advcore"},
    "advgen": {"advgen", "advcore", "sandbox"},
    "advtrain": {"advtrain", "advcore", "sandbox"},
    "advdistill": {"advdistill", "advgen", "advtrain", "advcore", "sandbox"},
}


def imported(file: Path) -> set[str]:
    """Top-level names that `file` imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0] if node.level == 0 else file.parent.name)
    return found


@pytest.mark.parametrize("package", OURS)
def test_each_package_imports_only_what_the_design_lets_it(package):
    for file in (ROOT / package).rglob("*.py"):
        assert imported(file) & set(OURS) <= MAY_IMPORT[package], file


def test_sandbox_needs_nothing_but_the_standard_library():
    for file in (ROOT / "sandbox").rglob("*.py"):
        assert imported(file) <= set(sys.stdlib_module_names) | {"sandbox"}, file


@pytest.mark.parametrize(
    ("library", "only"),
    [
        ("litellm", "advcore/ask/transports/litellm.py"),
        ("openvino_genai", "advcore/engine/openvino.py"),
        ("sandbox", "advgen/verify/"),
    ],
)
def test_a_heavy_library_has_one_importer_on_the_data_side(library, only):
    files = [*(ROOT / "advgen").rglob("*.py"), *(ROOT / "advcore").rglob("*.py")]
    importers = {file.relative_to(ROOT).as_posix() for file in files if library in imported(file)}
    assert importers
    assert all(name.startswith(only) for name in importers - {"advgen/cli.py"})


def modules(package):
    """Dotted name -> file; a package goes by its own name."""
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in (ROOT / package).rglob("*.py")
    }


def is_for_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def arrows(package):
    """Module -> those of the same package that it imports, inside functions too; not for the type checker alone."""
    known, found = modules(package), {}
    for name, file in known.items():
        home = name if file.name == "__init__.py" else name.rpartition(".")[0]
        imports = set()
        tree = ast.parse(file.read_text())
        unread = {id(node) for each in ast.walk(tree) if is_for_types(each) for node in each.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imports |= {alias.name for alias in node.names}
            elif id(node) in unread:
                continue
            elif isinstance(node, ast.ImportFrom):
                above = home.split(".")[: len(home.split(".")) - node.level + 1] if node.level else []
                source = ".".join([*above, *([node.module] if node.module else [])])
                inner = {f"{source}.{alias.name}" for alias in node.names}
                imports |= inner & known.keys() or {source}
        found[name] = imports & known.keys() - {name}
    return found


def floors(graph):
    """Node -> nodes of the longest chain of imports that begins there. Fails at a circle, naming it."""
    known = {}

    def floor(node, *above):
        assert node not in above, f"a circle: {' -> '.join([*above[above.index(node) :], node])}"
        if node not in known:
            known[node] = 1 + max((floor(below, *above, node) for below in graph[node]), default=0)
        return known[node]

    return {node: floor(node) for node in graph}


def rooms(graph):
    """The graph with every package inside the package as one node."""
    room = {node: ".".join(node.split(".")[:2]) for node in graph}
    return {
        name: {room[below] for node in graph if room[node] == name for below in graph[node]} - {name}
        for name in room.values()
    }


@pytest.mark.parametrize("package", OURS)
def test_no_module_imports_itself_by_way_of_others(package):
    assert floors(arrows(package))


def test_the_student_side_has_few_floors_and_rooms_that_one_can_look_over():
    """Floors of rooms: within one, what is finer than a file lies on what is coarser (`forward`, `methods.gad`)."""
    graph = arrows("advtrain")
    assert max(floors(rooms(graph)).values()) <= 8
    for folder in {file.parent for file in modules("advtrain").values()}:
        inside = [file for file in folder.glob("*.py") if not file.stem.startswith("__")]
        assert len(inside) <= 12, folder


def test_a_method_is_known_by_name_in_its_own_room_alone():
    names = {"dpo", "sft", "gad"}
    for file in (ROOT / "advtrain").rglob("*.py"):
        if file.is_relative_to(ROOT / "advtrain" / "methods"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare | ast.Match):
                asked = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
                assert "method" not in asked, (file, ast.unparse(node))
            if isinstance(node, ast.If | ast.IfExp | ast.Match) and file.name != "config.py":
                branch = node.subject if isinstance(node, ast.Match) else node.test
                words = {each.value for each in ast.walk(branch) if isinstance(each, ast.Constant)}
                assert not words & names, (file, ast.unparse(branch))
            if isinstance(node, ast.Subscript) and isinstance(
                node.value, ast.Dict
            ):  # a branch by another name
                assert "method" not in ast.unparse(node.slice), (file, ast.unparse(node))


@pytest.mark.parametrize("package", OURS)
def test_every_module_says_what_it_is_for(package):
    for file in (ROOT / package).rglob("*.py"):
        assert ast.get_docstring(ast.parse(file.read_text())), file


# What Typer brings along; anything else that --help loads has to be argued for here.
LIGHT = {
    "attr",  # rich looks whether it is there
    "attrs",
    "typer",
    "click",
    "rich",
    "pygments",
    "shellingham",
    "markdown_it",
    "mdurl",
    "typing_extensions",
    "annotated_doc",
}


@pytest.mark.parametrize("command", ["advgen", "advtrain", "advdistill"])
def test_help_is_light(command):
    code = f"""
import sys
before = set(sys.modules)
from {command}.cli import main
assert main(["--help"]) == 0
print(sorted({{name.split(".")[0] for name in set(sys.modules) - before}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in ast.literal_eval(done.stdout.splitlines()[-1]) if not name.startswith("_")}
    assert "typer" in loaded
    assert loaded - set(sys.stdlib_module_names) - set(OURS) <= LIGHT


def test_the_public_api_is_light_to_import_and_lists_what_it_offers():
    code = """
import sys
before = set(sys.modules)
import advdistill
print(sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in ast.literal_eval(done.stdout) if not name.startswith("_")}
    assert loaded - set(sys.stdlib_module_names) == set(OURS)


def test_every_package_tells_type_checkers_that_it_has_types():
    for package in OURS:
        assert (ROOT / package / "py.typed").is_file()


CONFIGS = {"advgen": "advgen.config", "advtrain": "advtrain.config", "advcore": "advcore.ask.config"}


def config_classes():
    for package, name in CONFIGS.items():
        module = importlib.import_module(name)
        for value in vars(module).values():
            if dataclasses.is_dataclass(value) and value.__module__ == module.__name__:
                yield package, value


def attributes_read(file):
    """Names read as attributes in `file`; methods that are called do not count (`text.count(...)`)."""
    tree = ast.parse(file.read_text())
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and id(node) not in called
    }


def test_every_config_field_is_read_outside_config():
    for package, cls in config_classes():
        files = [
            file
            for file in (ROOT / package).rglob("*.py")
            if file.name != "config.py" and "testing" not in file.parts
        ]
        read = set().union(*map(attributes_read, files))
        assert {field.name for field in dataclasses.fields(cls)} <= read, cls.__name__


def test_every_config_field_is_documented_below_it():
    for name in CONFIGS.values():
        tree = ast.parse((ROOT / f"{name.replace('.', '/')}.py").read_text())
        for cls in (node for node in tree.body if isinstance(node, ast.ClassDef)):
            for field, after in zip(cls.body, [*cls.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign):
                    documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    assert documented, f"{cls.name}.{ast.unparse(field.target)} has no text below it"


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda file: file.name)
def test_every_shipped_config_parses(file):
    from advgen.config import BuildConfig
    from advtrain.config import RunConfig

    cls = RunConfig if "method" in tomllib.loads(file.read_text()) else BuildConfig
    assert settings.resolved(settings.load(cls, file))
