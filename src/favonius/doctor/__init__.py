"""What is in a file of rows, and what training would make of it: `favonius data check`."""
