"""Hand checks: two answers side by side, who prefers which, and what a person says to it."""
