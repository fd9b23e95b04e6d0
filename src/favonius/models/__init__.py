"""Weights in and out: model specs, downloads, GGUF conversion, loading and saving."""
