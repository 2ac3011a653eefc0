"""Claims about clips with ground truth: contestants, contest, claims."""
