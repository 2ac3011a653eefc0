"""The part of ComfyUI's V3 node API that our nodes use, as its documentation and `comfy_api/latest` have it: names of
classes, arguments, sockets. Arguments that are not there are refused, so a node that passes these tests passes names
that ComfyUI knows. `make comfyui` runs the same tests on another implementation, COMFYUI=DIR on ComfyUI itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


@dataclass
class Input:
    id: str
    display_name: str | None = None
    optional: bool = False
    tooltip: str | None = None
    lazy: bool | None = None
    extra_dict: dict | None = None
    raw_link: bool | None = None
    advanced: bool | None = None
    io_type = "?"


@dataclass
class Widget(Input):
    default: Any = None
    socketless: bool | None = None
    force_input: bool | None = None


@dataclass
class BooleanInput(Widget):
    label_on: str | None = None
    label_off: str | None = None


@dataclass
class NumberInput(Widget):
    min: float | None = None
    max: float | None = None
    step: float | None = None
    display_mode: Any = None


@dataclass
class IntInput(NumberInput):
    control_after_generate: bool | None = None


@dataclass
class FloatInput(NumberInput):
    round: float | None = None


@dataclass
class StringInput(Widget):
    multiline: bool = False
    placeholder: str | None = None
    dynamic_prompts: bool | None = None


class ComboInput(Widget):
    def __init__(self, id: str, options: list[str], **more: Any) -> None:
        super().__init__(id, **more)
        self.options = options


class MultiTypeInput(Input):
    def __init__(self, id: str, types: list, **more: Any) -> None:
        super().__init__(id, **more)
        self.io_type = ",".join(one.io_type for one in types)


@dataclass
class Output:
    id: str | None = None
    display_name: str | None = None
    tooltip: str | None = None
    is_output_list: bool = False
    io_type = "?"


def _socket(io_type: str, kind: type = Input) -> Any:
    return SimpleNamespace(
        io_type=io_type,
        Input=type("Input", (kind,), {"io_type": io_type}),
        Output=type("Output", (Output,), {"io_type": io_type}),
    )


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_output_node: bool = False
    is_experimental: bool = False
    is_deprecated: bool = False

    def finalize(self) -> None:
        """Gives outputs without ids theirs."""

    def validate(self) -> None:
        names = [one.id for one in self.inputs]
        if len(set(names)) != len(names):
            raise ValueError(f"input ids must be unique, and {names} are not")


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None, expand: dict | None = None, block_execution: str | None = None):
        self.args, self.ui, self.expand, self.block_execution = args, ui, expand, block_execution

    @property
    def result(self) -> tuple | None:
        return self.args or None


class ComfyNode:
    define_schema: Callable[[], Schema]


def install(add: Callable[[str, ModuleType], None]) -> None:
    """Puts `comfy_api.latest` where nodes import it from."""
    latest, package = ModuleType("comfy_api.latest"), ModuleType("comfy_api")
    package.__path__ = []  # ty: ignore[invalid-assignment]
    sockets = {
        "Image": _socket("IMAGE"),
        "Mask": _socket("MASK"),
        "Load3DCamera": _socket("LOAD3D_CAMERA"),
        "Boolean": _socket("BOOLEAN", BooleanInput),
        "Int": _socket("INT", IntInput),
        "Float": _socket("FLOAT", FloatInput),
        "String": _socket("STRING", StringInput),
        "Combo": _socket("COMBO", ComboInput),
        "MultiType": SimpleNamespace(Input=MultiTypeInput),
    }
    classes = {"Schema": Schema, "NodeOutput": NodeOutput, "ComfyNode": ComfyNode, "Custom": _socket}
    latest.io = SimpleNamespace(**sockets, **classes)  # ty: ignore[unresolved-attribute]
    latest.ComfyExtension = type("ComfyExtension", (), {})  # ty: ignore[unresolved-attribute]
    add("comfy_api", package)
    add("comfy_api.latest", latest)


def folder_paths(folder: Path) -> ModuleType:
    """ComfyUI's module of that name, for its folders `input` and `output` in `folder`."""
    module = ModuleType("folder_paths")

    def get_save_image_path(prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0) -> tuple:
        place = Path(output_dir) / Path(prefix).parent
        place.mkdir(parents=True, exist_ok=True)
        count = sum(1 for _ in place.glob(f"{Path(prefix).name}_*")) + 1
        return str(place), Path(prefix).name, count, str(Path(prefix).parent), prefix

    module.__dict__.update(
        get_save_image_path=get_save_image_path,
        get_input_directory=lambda: str(folder / "input"),
        get_output_directory=lambda: str(folder / "output"),
    )
    return module


def forget(name: str) -> None:
    """Unloads a module and what is in it."""
    for one in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
        del sys.modules[one]
