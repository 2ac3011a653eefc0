"""The version of this package, which files that it writes carry; `pyproject.toml` says it too."""

VERSION = "0.1.0"
