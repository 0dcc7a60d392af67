"""The conversation engine: voice activity, turn-taking, recognition, thinking, speech.

Knows nothing of WebRTC, rooms or HTTP servers; `agent` imports it, never the other way round.
"""
