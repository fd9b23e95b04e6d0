"""Benchmarks of one model at a time: data set × solver × scorer, the same from a recipe and from `favonius eval run`."""
