"""No public name or signature changes unnoticed.

The surface as it was agreed lies in `api_surface.json`. A change that is meant is written down by running this file:
`python tests/test_api_surface.py`.
"""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import unrender
from unrender import relight

AGREED = Path(__file__).with_name("api_surface.json")


def surface() -> dict[str, Any]:
    pages = {"unrender": unrender, "unrender.relight": relight}
    return {
        f"{page}.{name}": describe(getattr(module, name)) for page, module in pages.items() for name in module.__all__
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


def test_every_public_name_has_a_docstring():
    undocumented = [name for name in unrender.__all__ if name != "__version__" and not getattr(unrender, name).__doc__]
    assert undocumented == []


def test_importing_the_page_loads_nothing_slow():
    program = "import sys, unrender; sys.exit(bool({'torch', 'numpy', 'diffusers', 'mitsuba'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


if __name__ == "__main__":
    AGREED.write_text(json.dumps(surface(), indent=1, sort_keys=True) + "\n")
