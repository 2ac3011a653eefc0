"""Objects into pictures (DiPIR, Liang et al., ECCV 2024)."""
