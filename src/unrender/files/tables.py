"""JSON files that hold a table, as configurations of models do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unrender.errors import UserError
from unrender.files.paths import existing_file


def read_table(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: the file cannot be read, is no JSON, or holds something else.
    """
    try:
        said = json.loads(existing_file(path).read_bytes())
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: it is not JSON; expected a file that was copied completely") from error
    if not isinstance(said, dict):
        raise UserError(f"{path} is damaged: it has no table in it; expected a file that was copied completely")
    return said
