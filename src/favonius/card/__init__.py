"""The run card: all that a run was made of and came to, fit to leave the machine, and enough to make it again."""
