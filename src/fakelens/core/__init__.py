"""Foundations of all other packages, copied into every bundle: the standard library, NumPy and Pillow alone."""
