"""What leaves a run: checked model folders, adapters and GGUF files, with a card, and the way to the hub."""
