"""The papers' claims, measured here: each claim beside our figures, with a verdict; docs/claims.md has the protocol."""
