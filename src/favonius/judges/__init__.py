"""Judges rate answers. They stand on a floor of their own because feedback and evals both need them."""
