"""The parts of `benchmarks/media_path.py`, and what they share: an agent's side and the callers' side."""
