"""What the papers claim, measured here: each claim beside our figures, with a verdict. docs/claims.md says how."""
