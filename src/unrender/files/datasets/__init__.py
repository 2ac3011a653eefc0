"""Public datasets of ground truth, read into the conventions of this package: see docs/datasets.md."""
