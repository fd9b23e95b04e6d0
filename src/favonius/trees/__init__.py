"""Prompt trees: the one way that anything in the package gets a log-prob."""
