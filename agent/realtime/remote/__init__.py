"""One other participant: its connection through all rebuilds, its tracks, and what it says about them."""
