"""Benchmarks of one model at a time: data set × solver × scorer, from a recipe and from `favonius eval run` alike."""
