"""A model whose futures are plain to see, and a real server around it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from torch import Tensor
from websockets.sync.client import ClientConnection, connect

from framecast.clip import ClipSpec, VectorSpec
from framecast.data.episodes import EpisodeStore
from framecast.models.base import RolloutState, VideoModel
from framecast.pusher.env import MAX_STEP, PusherEnv
from framecast.pusher.scene import REACH_HIGH, REACH_LOW
from framecast.steering.controls import Controls
from framecast.steering.drag import PusherDrag, find_drag
from framecast.steering.guards import Door, Limits
from framecast.steering.messages import unpack
from framecast.steering.server import Steering, build_app
from framecast.steering.serving import settings
from framecast.steering.session import Session
from framecast.steering.starts import Start, Starts
from framecast.training.recipe import recipe_from
from framecast.training.runs import Checkpoint, Run, build_model

SCENE = Start("scene", 3)
RIGHT = [0.04, 0.0, 0.0, -1.0]


@dataclass(frozen=True)
class Seen(RolloutState):
    """Attributes:
    frame: (B, C, H, W) the last one
    """

    frame: Tensor


class Mover(VideoModel[Seen]):
    """Moves the whole picture the way the arm is told to go, give or take two pixels of noise."""

    def __init__(self, spec: ClipSpec) -> None:
        super().__init__(spec, num_context=2, latent_dim=2)
        self.scale = torch.nn.Parameter(torch.tensor([1.86, -1.44]) * spec.height)

    def loss(self, *_: Any) -> Any:
        raise NotImplementedError("it knows all it needs")

    def observe(self, frames: Tensor, actions: Tensor, states: Tensor | None) -> Seen:
        return Seen(None, frames[-1])

    def imagine(
        self,
        state: Seen,
        action: Tensor,
        noise: Tensor | None = None,
        robot_state: Tensor | None = None,
    ) -> tuple[Tensor, Seen]:
        shifts = action[:, :2] * self.scale
        shifts = shifts if noise is None else shifts + 2 * noise
        moved = [
            frame.roll((int(down.round()), int(across.round())), (1, 2))
            for frame, (across, down) in zip(state.frame, shifts, strict=True)
        ]
        frame = torch.stack(moved)
        return frame, Seen(None, frame)


def pusher_spec(size: int = 64) -> ClipSpec:
    bound = (*MAX_STEP, 1.0)
    low = tuple(-value for value in bound)
    action = VectorSpec(
        PusherEnv.action_names, PusherEnv.action_units, (0.0,) * 4, (0.02,) * 4, low, bound
    )
    state = VectorSpec(
        PusherEnv.state_names, PusherEnv.state_units, (0.0,) * 3, (0.1,) * 3, REACH_LOW, REACH_HIGH
    )
    return ClipSpec(size, size, 3, 5.0, action, state, "the built-in pusher")


def steering_of(model: VideoModel[Any], **limits: Any) -> Steering:
    """Fresh scenes only."""
    return Steering(
        model,
        "mover",
        Starts(model.spec, model.num_context, None, has_scenes=True),
        Controls.of(model.spec, None),
        find_drag(model.spec, None, None),
        Limits(**limits),
        threads=1,
    )


@pytest.fixture(scope="session")
def run_folder(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the course model as training leaves it, but for the training."""
    sizes = {"code_dim": 8, "latent_dim": 4, "hidden_dim": 16, "condition_dim": 8}
    model = {"kind": "course", "image_width": 8} | sizes
    recipe = recipe_from({"model": model}, "a tiny recipe")
    spec = EpisodeStore.open(squares, "train").spec
    run = Run.create(tmp_path_factory.mktemp("runs") / "tiny", recipe, squares, spec)
    weights = build_model(recipe, spec).state_dict()
    louder = {name: 4 * x if x.is_floating_point() else x for name, x in weights.items()}
    Checkpoint(0, spec, louder, {}, 0.0, 20.0).save(run.checkpoint_file("best"))
    row = {"psnr": 21.25, "ssim": 0.75}
    protocol = {"context": 2, "horizon": 10, "split": "test", "states": "given"}
    document = {"protocol": protocol, "scores": {"model": row, "copy_last": row}}
    (run.folder / "evaluation" / "course.json").write_text(json.dumps(document))
    return run.folder


@pytest.fixture(scope="session")
def mover() -> Mover:
    return Mover(pusher_spec()).eval()


@pytest.fixture
def session(mover: Mover) -> Session:
    starts = Starts(mover.spec, 2, None, has_scenes=True)
    return Session(mover, starts, Controls.of(mover.spec, None), PusherDrag())


@dataclass
class Served:
    """A server that runs in a thread of this process."""

    steering: Steering
    port: int
    door: Door
    errors: list[BaseException] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def connect(self, token: str = "", host: str = "127.0.0.1", **options: Any) -> ClientConnection:
        """A client that says it wants this host."""
        query = f"?token={token}" if token else ""
        options = {"origin": f"http://{host}:{self.port}", "max_size": None} | options
        line = socket.create_connection(("127.0.0.1", self.port))
        url = f"ws://{host}:{self.port}/steer{query}"
        return connect(url, sock=line, compression=None, **options).__enter__()

    def talk(self, **options: Any) -> Talk:
        return Talk(self.connect(**options))


class Talk:
    """A client that asks and waits."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.welcome = json.loads(socket.recv(timeout=60))
        if self.welcome["type"] == "welcome":
            self.sheet = unpack(socket.recv(timeout=60))[0]

    def ask(self, type: str, **fields: Any) -> list[tuple[dict[str, Any], bytes]]:
        """All answers up to the last; an error is the only one."""
        self.socket.send(json.dumps({"type": type, "id": 7, **fields}))
        answers = []
        while True:
            header, payload = self.hear()
            if header["type"] == "done":
                return answers
            answers.append((header, payload))
            if header["type"] == "error":
                return answers

    def hear(self, timeout: float = 60) -> tuple[dict[str, Any], bytes]:
        data = self.socket.recv(timeout=timeout)
        return (json.loads(data), b"") if isinstance(data, str) else unpack(data)

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@contextmanager
def serving(steering: Steering, token: str = "") -> Iterator[Served]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    served = Served(steering, listener.getsockname()[1], Door("127.0.0.1", token=token))
    server = uvicorn.Server(settings(build_app(steering, served.door), steering.limits))
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),))
    thread.start()
    try:
        yield served
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        steering.close()
        assert not thread.is_alive(), "the server does not stop"


@pytest.fixture(scope="session")
def served(mover: Mover) -> Iterator[Served]:
    with serving(steering_of(mover, messages_per_second=1e6, burst=10**6)) as running:
        yield running


Serve = Callable[..., Any]
