"""The rooms of docs/architecture.md: imports only point down, none goes in a circle, one name is one class."""

import ast
import graphlib
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import unrender

ROOT = Path(unrender.__file__).parent.parent
ROOMS = (
    "cli",
    "studio",
    "serve",
    "output",
    "train",
    "evaluate",
    "insert",
    "synth",
    "relight",
    "multiview",
    "inverse",
    "forward",
    "diffusion",
    "raytrace",
    "scale",
    "files",
    "scene",
    "device",
    "conventions",
    "errors",
    "interrupt",
    "lazy",
    "version",
)
"""From the top down; `unrender` itself, the page that offers names of all rooms, and `__main__` are above them."""

PAGES = ("", "__main__")
SHARED_NAMES = {"ForwardJob"}
"""Names of classes that more than one module may have: the commands `forward` and `evaluate forward`."""


@dataclass(frozen=True)
class Import:
    """One import: in `module`, of `target`, in line `line`; whether it runs when `module` is imported."""

    module: str
    target: str
    line: int
    at_import: bool


def sources() -> dict[str, Path]:
    """Every module of the package, by name."""
    found = {}
    for path in sorted((ROOT / "unrender").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


SOURCES = sources()


def imports_of(module: str, tree: ast.Module) -> Iterator[Import]:
    """All imports of the package's own modules, lazy ones and those for type checkers included."""
    yield from _imports(module, tree, at_import=True)


def _imports(module: str, node: ast.AST, *, at_import: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for target in _targets(module, child):
            yield Import(module, target, getattr(child, "lineno", 0), at_import)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body:
                yield from _imports(module, ast.Module([statement], []), at_import=False)
            for statement in child.orelse:
                yield from _imports(module, ast.Module([statement], []), at_import=at_import)
            continue
        lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(module, child, at_import=at_import and not lazy)


def _targets(module: str, node: ast.AST) -> list[str]:
    """The modules that a statement imports; of `from package import name`, the module of that name where there is
    one."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] == "unrender"]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = module if SOURCES[module].stem == "__init__" else module.rpartition(".")[0]
        for _ in range(node.level - 1):
            package = package.rpartition(".")[0]
        base = f"{package}.{base}".rstrip(".")
    if base.split(".")[0] != "unrender":
        return []
    return [name if (name := f"{base}.{alias.name}") in SOURCES else base for alias in node.names]


TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in SOURCES.items()}
IMPORTS = [one for module, tree in TREES.items() for one in imports_of(module, tree)]


def room_of(module: str) -> str:
    return (module.split(".") + [""])[1]


def upward(imports: list[Import]) -> list[str]:
    """Those that point up, in words."""
    return [
        f"{one.module}:{one.line} imports {one.target}"
        for one in imports
        if room_of(one.module) not in PAGES
        and (room_of(one.target) in PAGES or ROOMS.index(room_of(one.target)) < ROOMS.index(room_of(one.module)))
    ]


def test_every_module_is_in_a_room():
    assert {room_of(module) for module in SOURCES} == {*ROOMS, *PAGES}


def test_the_page_lists_every_room_in_this_order_and_every_folder():
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = re.search(r"```\nsrc/unrender/\n(.*?)```", page, re.DOTALL)
    assert listed is not None
    folders = [folder for folder in (ROOT / "unrender").rglob("*") if folder.is_dir() and folder.name != "__pycache__"]
    rooms = [room for room in ROOMS if (ROOT / "unrender" / room).is_dir()]
    assert re.findall(r"^  (\w+)/", listed[1], re.MULTILINE) == rooms
    assert [folder.name for folder in folders if f"{folder.name}/" not in listed[1]] == []


def test_imports_point_down():
    assert upward(IMPORTS) == []


@pytest.mark.parametrize(
    ("module", "source", "caught"),
    [
        ("unrender.scene.camera", "def f():\n    from unrender.files.images import read_image", True),
        ("unrender.scene.camera", "if TYPE_CHECKING:\n    import unrender.train.loop", True),
        ("unrender.files.images", "import unrender", True),
        ("unrender.files.images", "from unrender import train", True),
        ("unrender.files.images", "from .. import scene", False),
        ("unrender.train.loop", "from unrender.scene.camera import Camera", False),
        ("unrender.train.loop", "import torch", False),
    ],
)
def test_what_points_up_is_found(module, source, caught):
    assert bool(upward(list(imports_of(module, ast.parse(source))))) == caught


def test_no_module_waits_for_itself():
    """A circle of imports works or not by which module a caller happens to import first."""
    needed = defaultdict(set)
    for one in IMPORTS:
        if not one.at_import:
            continue
        # A module's packages run before it; its own are running already.
        parts = one.target.split(".")
        packages = {".".join(parts[: i + 1]) for i in range(len(parts))}
        needed[one.module] |= {name for name in packages if not f"{one.module}.".startswith(f"{name}.")}
    # Raises CycleError, which names the circle.
    list(graphlib.TopologicalSorter(needed).static_order())


def test_a_light_is_read_by_its_class_though_that_knows_no_files():
    program = (
        "import sys; from unrender.scene.environment import EnvironmentMap; assert 'unrender.files' not in sys.modules;"
        "assert EnvironmentMap.read('sunset').name == 'sunset'"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_one_name_is_one_class():
    homes = defaultdict(set)
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].add(module)
    assert {name: found for name, found in homes.items() if len(found) > 1 and name not in SHARED_NAMES} == {}
