"""GSM8K (arXiv 2110.14168): grade-school sums in words, right or wrong by the number alone."""
