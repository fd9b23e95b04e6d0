"""Stage `data`: rows that people have or that were published become the rows that later steps take."""
