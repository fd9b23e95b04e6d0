"""Filters on dialogues: each a frozen config and a function from a conversation to what is left of it."""
