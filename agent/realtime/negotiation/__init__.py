"""What two peers say to each other to get connected, and the rules of it. Pure: no connection, no clock."""
