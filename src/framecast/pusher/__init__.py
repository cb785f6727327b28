"""The built-in world: a gripper that pushes objects about in a bin, as a Gymnasium environment.

Importing this registers `framecast/Pusher-v0` and, to test models on what they have not seen,
`framecast/PusherShifted-v0`; MuJoCo is imported when one is made.
"""

from __future__ import annotations

import gymnasium

ENV_ID = "framecast/Pusher-v0"
SHIFTED_ID = "framecast/PusherShifted-v0"
ENTRY_POINT = "framecast.pusher.env:PusherEnv"


def register() -> None:
    """Make the worlds known to Gymnasium, which also calls this by its entry point."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(ENV_ID, entry_point=ENTRY_POINT)
        gymnasium.register(SHIFTED_ID, entry_point=ENTRY_POINT, kwargs={"shifted": True})


register()
