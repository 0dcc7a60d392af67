"""The service: who joins which room, and how."""
