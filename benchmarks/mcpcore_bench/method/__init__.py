"""How things are measured and judged: histograms, samples, medians with spread, comparisons."""
