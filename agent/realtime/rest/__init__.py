"""The vendor's REST services, to which an account's secrets belong: the control plane, TURN and its usage."""
