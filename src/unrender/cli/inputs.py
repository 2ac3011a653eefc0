"""What the verbs read, checked before anything slow is imported or run."""

from __future__ import annotations

from difflib import get_close_matches

from unrender.errors import UserError


def parse_maps(text: str | None) -> tuple[str, ...] | None:
    """`base_color,normal` to names of G-buffer maps; None, for all that a model gives, stays None."""
    if text is None:
        return None
    from unrender.scene.gbuffer import CHANNELS

    known = [name for name in CHANNELS if name != "rgb"]
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UserError(f"--maps is empty; expected some of {', '.join(known)}")
    for name in names:
        if name not in known:
            close = get_close_matches(name.lower(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected some of {', '.join(known)}"
            raise UserError(f"--maps {name}: there is no such map; {hint}")
    return tuple(dict.fromkeys(names))
