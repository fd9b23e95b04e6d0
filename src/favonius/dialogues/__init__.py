"""Stage `dialogues`: seed prompts and a teacher become the conversations that dSFT learns from."""
