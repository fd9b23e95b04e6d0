"""Safety, which the Zephyr paper left open: what a model refuses of what it should refuse, and of what it should not.

Everything here can be read and checked: prompts in a file, wrappers as plain functions, refusals by named rules.
"""
