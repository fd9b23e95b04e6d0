"""From a recipe to a finished run folder: what must be done, in which order, and doing it."""
