"""The comparisons whose figures the documents quote: each one command."""
