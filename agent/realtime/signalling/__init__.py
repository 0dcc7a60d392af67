"""The line to the server: one lasting presence over as many connections as it takes.

Knows nothing of WebRTC; what peers say to each other passes through unread.
"""
