"""No public name or signature changes unnoticed.

The surface as it was agreed lies in `api_surface.json`. A change that is meant is written down by running this file:
`python tests/test_api_surface.py`.
"""

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import unrender

AGREED = Path(__file__).with_name("api_surface.json")
ROOT = Path(__file__).parents[1]
PAGES = (
    "unrender",
    *(
        f"unrender.{room}"
        for room in ("evaluate", "files", "forward", "insert", "multiview", "output", "relight", "scale", "train")
    ),
)


def surface() -> dict[str, Any]:
    return {
        f"{page}.{name}": describe(getattr(import_module(page), name))
        for page in PAGES
        for name in import_module(page).__all__
    }


def describe(value: Any) -> Any:
    if inspect.isclass(value) and issubclass(value, Exception):
        return f"exception, {', '.join(base.__name__ for base in value.__bases__)}"
    if inspect.isclass(value):
        members = {
            name: member for name, member in vars(value).items() if not name.startswith("_") or name == "__call__"
        }
        return {"": _signature(value)} | {name: describe(member) for name, member in sorted(members.items())}
    if isinstance(value, classmethod | staticmethod):
        return _signature(value.__func__)
    if isinstance(value, property):
        return "property"
    return _signature(value) if inspect.isfunction(value) else type(value).__name__


def _signature(value: Any) -> str:
    return str(inspect.signature(value))


def test_the_public_page_is_as_agreed():
    assert surface() == json.loads(AGREED.read_text()), "a change that is meant: python tests/test_api_surface.py"


@pytest.mark.parametrize("page", PAGES)
def test_every_public_name_is_listed_and_has_a_docstring(page: str):
    module = import_module(page)
    named = {name for name in module.__all__ if name != "__version__"}
    assert named <= set(dir(module))
    values = {name: getattr(module, name) for name in named}
    assert [name for name, value in values.items() if inspect.isroutine(value) and not value.__doc__] == []
    assert [name for name, value in values.items() if inspect.isclass(value) and not value.__doc__] == []
    assert getattr(unrender, page.rpartition(".")[2], unrender) is module


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'ssmi'"):
        import_module("unrender.evaluate").ssmi  # noqa: B018


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_what_the_docs_import_is_on_a_page(page: Path):
    for module, name in documented_names(page.read_text()):
        assert module in PAGES or module.startswith("unrender.synth"), f"{module}.{name} is on no page"
        assert hasattr(import_module(module), name), f"{module} has no {name}"


def documented_names(text: str) -> Iterator[tuple[str, str]]:
    """The (module, name) pairs that the Python in a page imports, or takes from `ur`."""
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unrender"):
                yield from ((str(node.module), alias.name) for alias in node.names)
            elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("ur."):
                _, first, *more = ast.unparse(node).split(".")
                yield ("unrender", first)
                if more and f"unrender.{first}" in PAGES:
                    yield (f"unrender.{first}", more[0])


def test_importing_the_page_loads_nothing_slow():
    program = (
        "import sys, unrender, unrender.evaluate, unrender.files, unrender.train;"
        "sys.exit(bool({'torch', 'numpy', 'diffusers', 'mitsuba'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


if __name__ == "__main__":
    AGREED.write_text(json.dumps(surface(), indent=1, sort_keys=True) + "\n")
