"""Stages `answers`, `ratings` and `pairs`: what a pool of models says, what a judge thinks of it, who wins."""
