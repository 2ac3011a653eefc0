"""unrender for ComfyUI: V3 nodes round unrender's Python page. What they do is in docs/hosts.md of the project."""

from comfy_api.latest import ComfyExtension, io

from .exr import NODES as EXR_NODES
from .lights import NODES as LIGHT_NODES
from .making import NODES as MAKING_NODES
from .maps import NODES as MAP_NODES


class Unrender(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [*MAP_NODES, *LIGHT_NODES, *EXR_NODES, *MAKING_NODES]


async def comfy_entrypoint() -> Unrender:
    return Unrender()
