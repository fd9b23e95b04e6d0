"""Favonius: a base language model and a teacher you can only talk to become a small aligned chat model."""

__version__ = "0.1.0"
