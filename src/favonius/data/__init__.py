"""Rows in and out, and what can be wrong with a text."""
