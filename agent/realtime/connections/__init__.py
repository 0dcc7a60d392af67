"""The WebRTC connections to one peer, with their media and data channels, made by aiortc.

Decides nothing about when they are made or given up: that is `remote`'s.
"""
