"""Judges that are asked in words: their prompts, how their replies are read, and who asks them."""
