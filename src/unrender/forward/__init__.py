"""G-buffer + light -> picture."""

from unrender.forward.renderer import DeferredRenderer
from unrender.forward.surface import LightGroups

__all__ = ["DeferredRenderer", "LightGroups"]
