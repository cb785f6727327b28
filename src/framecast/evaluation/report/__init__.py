"""The report: what a run learned and how well, as one HTML file that needs nothing else."""
