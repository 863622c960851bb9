"""The report: one HTML file about a run and its dataset, for people who would rather look than query."""
