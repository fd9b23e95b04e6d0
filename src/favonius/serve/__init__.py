"""Talking to models: in the terminal, and over OpenAI's API."""
