"""MT-Bench: eighty questions of two turns, graded by a judge. The protocol alone; its caller brings the engines."""
