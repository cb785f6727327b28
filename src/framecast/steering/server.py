"""The page and its websocket.

Sessions share one model, which one thread runs. A session asks for one turn at a time and for the
next only when its client has taken in what the last one gave, so turns go round fairly and a slow
client holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import torch
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from starlette.middleware.base import RequestResponseEndpoint

from framecast import __version__
from framecast.errors import UserError
from framecast.models.base import VideoModel
from framecast.planning.handmap import HandMap
from framecast.steering.commands import COMMANDS, SLOW
from framecast.steering.controls import Controls
from framecast.steering.drag import DragMap
from framecast.steering.guards import HEADERS, Allowance, Door, Limits
from framecast.steering.messages import MAX_PATH, Message, pack, unknown_type
from framecast.steering.session import MAX_FUTURES, Session
from framecast.steering.starts import Starts
from framecast.steering.truth import in_colour

PAGE = "framecast.steering.page"
MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
SERVER_IS_FULL = 1013
LOG = logging.getLogger("framecast.steering")


class Done:
    """Stands for the end of a command's turns."""


@dataclass
class Steering:
    """What all sessions share.

    Attributes:
        title: names the model on the page.
        threads: of PyTorch, for the one thread that runs the model.
        hand_map: where in the picture the robot's hand is, where that is known.
    """

    model: VideoModel[Any]
    title: str
    starts: Starts
    controls: Controls
    drag: DragMap | None
    limits: Limits = field(default_factory=Limits)
    threads: int = 2
    hand_map: HandMap | None = None
    active: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.model_thread = ThreadPoolExecutor(
            1, "model", initializer=torch.set_num_threads, initargs=(self.threads,)
        )
        self.saving_thread = ThreadPoolExecutor(1, "saving")
        self.sheet = self._sheet()

    def session(self) -> Session:
        return Session(self.model, self.starts, self.controls, self.drag, self.hand_map)

    def warm_up(self) -> None:
        """Take a first step for nobody, so that the first person's first step is not slow."""
        session = self.session()

        def step() -> None:
            for turns in (session.open(self.starts.sheet()[0]), session.step(self.controls.rest)):
                list(turns)

        self.model_thread.submit(step).result()

    def welcome(self) -> str:
        spec = self.model.spec
        return json.dumps(
            {
                "type": "welcome",
                "version": __version__,
                "title": self.title,
                "source": spec.source,
                "width": spec.width,
                "height": spec.height,
                "fps": spec.fps,
                "parameters": sum(p.numel() for p in self.model.parameters()),
                "stochastic": self.model.latent_dim > 0,
                "num_context": self.model.num_context,
                "max_futures": MAX_FUTURES,
                "max_path": MAX_PATH,
                "controls": self.controls.to_dict(),
                "drag": None if self.drag is None else list(self.drag.dims),
                "has_scenes": self.starts.has_scenes,
                "can_reach": self.hand_map is not None,
            }
        )

    def close(self) -> None:
        for thread in (self.model_thread, self.saving_thread):
            thread.shutdown(wait=True, cancel_futures=True)

    def _sheet(self) -> bytes:
        starts = self.starts.sheet()
        pictures = [in_colour(self.starts.picture(start)).tobytes() for start in starts]
        header = {"type": "sheet", "id": None, "starts": [start.to_dict() for start in starts]}
        return pack(header, *pictures)


class Conversation:
    """One websocket and its session."""

    def __init__(self, websocket: WebSocket, steering: Steering) -> None:
        self.websocket, self.steering = websocket, steering
        self.session = steering.session()
        self.allowance = Allowance(steering.limits)

    async def run(self) -> None:
        """Answer messages one after another until the client leaves or falls silent."""
        await self._send(self.steering.welcome())
        await self._send(self.steering.sheet)
        while True:
            async with asyncio.timeout(self.steering.limits.idle_seconds):
                received = await self.websocket.receive()
            if received["type"] == "websocket.disconnect":
                return
            wait = self.allowance.take()
            if wait > 0:
                await self._refuse(None, "Too many messages: they are now read more slowly.")
                await asyncio.sleep(wait)
            await self._answer(received.get("text"))

    async def _answer(self, text: str | None) -> None:
        number = None
        try:
            if text is None:
                raise UserError("Expected a message in JSON, got bytes.")
            message = Message.parse(text)
            number = message.id
            await self._perform(message)
        except UserError as error:
            await self._refuse(number, str(error))
        except (WebSocketDisconnect, TimeoutError):
            raise
        except Exception:
            LOG.exception("a command failed")
            await self._refuse(number, "That failed inside the server; its log says why.")

    async def _perform(self, message: Message) -> None:
        command = COMMANDS.get(message.type)
        if command is None:
            raise unknown_type(message.type, list(COMMANDS))
        steering = self.steering
        thread = steering.saving_thread if message.type in SLOW else steering.model_thread
        turns = command(self.session, message)
        loop = asyncio.get_running_loop()
        while True:
            reply = await loop.run_in_executor(thread, next, turns, Done)
            if isinstance(reply, bytes):
                await self._send(reply)
            elif reply is not None:
                break
        await self._send(json.dumps({"type": "done", "id": message.id}))

    async def _refuse(self, number: int | None, why: str) -> None:
        await self._send(json.dumps({"type": "error", "id": number, "message": why}))

    async def _send(self, data: str | bytes) -> None:
        async with asyncio.timeout(self.steering.limits.send_seconds):
            if isinstance(data, str):
                await self.websocket.send_text(data)
            else:
                await self.websocket.send_bytes(data)


def build_app(steering: Steering, door: Door) -> FastAPI:
    """The web application: the page's files, and a websocket at /steer."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    files = _page_files()

    @app.middleware("http")
    async def guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
        if door.host_is_ours(request.headers.get("host")):
            response = await call_next(request)
        else:
            response = Response("This server is not known by that name.\n", 421)
        response.headers.update(HEADERS)
        return response

    @app.get("/{name}")
    @app.get("/")
    async def page(name: str = "index.html") -> Response:
        if name not in files:
            return Response("There is no such page.\n", 404)
        content, media_type = files[name]
        return Response(content, media_type=media_type)

    @app.websocket("/steer")
    async def steer(websocket: WebSocket) -> None:
        headers = websocket.headers
        host = headers.get("host")
        welcome = (
            door.host_is_ours(host)
            and door.origin_is_ours(headers.get("origin"), host)
            and door.token_is_right(websocket.query_params.get("token"))
        )
        if not welcome:
            await websocket.close(1008)  # before accepting: HTTP 403
            return
        await websocket.accept()
        await _converse(websocket, steering)

    return app


async def _converse(websocket: WebSocket, steering: Steering) -> None:
    if steering.active >= steering.limits.sessions:
        why = f"All {steering.limits.sessions} places are taken. Try again in a while."
        await websocket.send_text(json.dumps({"type": "error", "id": None, "message": why}))
        await websocket.close(SERVER_IS_FULL, "full")
        return
    steering.active += 1
    try:
        await Conversation(websocket, steering).run()
    except WebSocketDisconnect:
        pass
    except TimeoutError:  # silent for long, or taking nothing in
        with contextlib.suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(1):
                await websocket.close(1001, "idle")
    finally:
        steering.active -= 1


def _page_files() -> dict[str, tuple[bytes, str]]:
    """Every file of the page by name; nothing else can be asked for."""
    files = {}
    for entry in resources.files("framecast.steering").joinpath("page").iterdir():
        suffix = "." + entry.name.rpartition(".")[2]
        if suffix in MEDIA:
            files[entry.name] = (entry.read_bytes(), MEDIA[suffix])
    return files
