"""Errors that are the disk's: it is full, or it fails."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from unrender.errors import UserError

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_DEVICE = {errno.EROFS, errno.EIO}
_FULL_WORDS = re.compile(
    # The last three are torch's of a checkpoint that was cut short; it does not hand the system's reason on.
    r"no space left on device|disk quota exceeded|file too large"
    r"|PytorchStreamWriter failed writing|iostream error|inline_container.* unexpected pos",
    re.IGNORECASE,
)


def storage_error(error: BaseException) -> OSError | None:
    """The system's error where `error`, or what led to it, is that a disk has no room (an errno of `FULL`), or fails;
    None else. It names the file where that is known, and can be pickled."""
    for cause in _chain(error):
        code = cause.errno if isinstance(cause, OSError) else None
        # A refusal may quote a file, so its own words do not count.
        told = not isinstance(cause, UserError) and _FULL_WORDS.search(str(cause)) is not None
        # By the same number FFmpeg calls a film damaged.
        damaged = isinstance(error, UserError) and type(cause).__module__.startswith("av.")
        if code not in FULL and told:
            code = errno.ENOSPC
        if code is not None and (code in FULL or (code in _DEVICE and not damaged)):
            return OSError(code, os.strerror(code), getattr(cause, "filename", None))
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        yield link
        seen.add(id(link))
        link = link.__cause__ or link.__context__
