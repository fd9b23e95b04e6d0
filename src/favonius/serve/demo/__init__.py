"""The web page: a chat with one model, and duels of two whose votes become preference pairs."""
