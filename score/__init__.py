"""Text and references to numbers: metrics, baselines, report."""
