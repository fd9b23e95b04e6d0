"""Tasks of lm-eval (extra `harness`), read by our own scorer: the Open LLM Leaderboard of the paper, MedConceptsQA."""
