"""What a recipe takes of a machine before it is run: tokens, memory, disk, time; and what would fit."""
