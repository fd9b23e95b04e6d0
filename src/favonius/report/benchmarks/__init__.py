"""What the page shows of stage `benchmark`: a leaderboard, its tasks one by one, and the paper's own numbers."""
