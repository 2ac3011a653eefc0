"""All claims, in the order of the table."""

from unrender.errors import UserError
from unrender.evaluate.claims.claim import Claim
from unrender.evaluate.claims.clips.claims import CLIP_CLAIMS
from unrender.evaluate.claims.insertions.claims import INSERTION_CLAIMS
from unrender.evaluate.claims.stills.claims import STILL_CLAIMS
from unrender.evaluate.claims.views.claims import VIEW_CLAIMS

CLAIMS: tuple[Claim, ...] = (*STILL_CLAIMS, *INSERTION_CLAIMS, *VIEW_CLAIMS, *CLIP_CLAIMS)


def claims_named(text: str) -> tuple[Claim, ...]:
    """Those that `text` names, with commas between; all when it is empty.

    Raises:
        UserError: there is none of that name.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = {claim.id: claim for claim in CLAIMS}
    for name in names:
        if name not in known:
            raise UserError(f"no claim {name}; expected some of {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names)) or CLAIMS
