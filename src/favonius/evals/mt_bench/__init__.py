"""MT-Bench: eighty questions of two turns, graded by a judge. The protocol alone; whoever calls it brings the engines."""
