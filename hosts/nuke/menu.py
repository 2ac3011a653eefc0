"""unrender's gizmos in Nuke's menu of nodes. This folder goes on NUKE_PATH, or its files into ~/.nuke."""

import nuke

for gizmo, name in (("unrender_lamp", "Lamp"), ("unrender_passes", "Passes")):
    nuke.menu("Nodes").addCommand(f"unrender/{name}", f"nuke.createNode({gizmo!r})")
