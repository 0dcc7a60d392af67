"""The agent as one participant of one room, and who else is there: what puts all the rest together."""
