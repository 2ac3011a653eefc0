"""G-buffer + light -> picture."""

from unrender.forward.geometry import calibrate_depth
from unrender.forward.renderer import DeferredRenderer, ForwardRenderer
from unrender.forward.surface import LightGroups
from unrender.forward.transport import transport_matrix

__all__ = ["DeferredRenderer", "ForwardRenderer", "LightGroups", "calibrate_depth", "transport_matrix"]
