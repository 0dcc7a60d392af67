"""Sound coming in: packets, put in order and completed, decoded, and read as blocks of samples."""
