"""Sound and pictures going out: sources, one clock for each, and encoding once for all who want it alike."""
