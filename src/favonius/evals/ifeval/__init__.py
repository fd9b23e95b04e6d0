"""IFEval (arXiv 2311.07911): instructions whose following a program can check. No model and no judge takes part."""
