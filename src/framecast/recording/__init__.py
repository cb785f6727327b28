"""Any Gymnasium environment -> episodes of frames, commanded actions and states."""

from framecast.recording.policies import HeldPolicy, Policy, RandomPolicy
from framecast.recording.recorder import MAX_ATTEMPTS, Recorder, Recording
from framecast.recording.writing import record

__all__ = [
    "MAX_ATTEMPTS",
    "HeldPolicy",
    "Policy",
    "RandomPolicy",
    "Recorder",
    "Recording",
    "record",
]
