"""Stage `evaluate`: models side by side on held-out prompts and pairs."""
