"""What the benchmarks share: a caller, the systems it calls, equal engines for each, figures and bars."""
