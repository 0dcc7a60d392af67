from pathlib import Path


def random_whisper() -> Path:
    raise NotImplementedError


def random_piper() -> Path:
    raise NotImplementedError
