"""The built-in world: a gripper that pushes objects about in a bin, as a Gymnasium environment.

Importing this registers `framecast/Pusher-v0`; MuJoCo is imported when one is made.
"""

from __future__ import annotations

import gymnasium

ENV_ID = "framecast/Pusher-v0"


def register() -> None:
    """Make `framecast/Pusher-v0` known to Gymnasium, which also calls this by its entry point."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(ENV_ID, entry_point="framecast.pusher.env:PusherEnv")


register()
