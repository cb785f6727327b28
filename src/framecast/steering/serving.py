"""From a model's folder to a running server, and to its end."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import uvicorn

from framecast.clip import ClipSpec
from framecast.data.episodes import EpisodeStore, Split
from framecast.errors import UserError
from framecast.models.base import VideoModel
from framecast.planning.handeye import learn_hand_eye, saved_hand_eye
from framecast.planning.handmap import HandMap, KnownCamera
from framecast.planning.robot import Displacements
from framecast.steering.controls import Controls
from framecast.steering.drag import find_drag, is_pusher
from framecast.steering.guards import Door, Limits, is_loopback
from framecast.steering.messages import MAX_BYTES
from framecast.steering.server import Steering, build_app
from framecast.steering.starts import Starts
from framecast.training.packages import Package
from framecast.training.runs import Run


def prepare(
    folder: Path | None,
    checkpoint: str | None,
    dataset: Path | None,
    split: Split,
    drag: str | None,
    max_sessions: int = 20,
    threads: int = 2,
    announce: Callable[[str], None] = print,
) -> Steering:
    """Open a model and what it can be steered from.

    Args:
        folder: a run, or a package; None is the model that comes with framecast.
        dataset: recordings; None for those of the run, which the pusher can do without.
        announce: is told a line where something is done without.

    Raises UserError for whatever does not fit.
    """
    for name, value in (("--sessions", max_sessions), ("--threads", threads)):
        if not 1 <= value <= 1000:
            raise UserError(f"{name} should be between 1 and 1000, got {value}.")
    model, title, own_dataset = _open(folder, checkpoint)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    spec = model.spec
    has_scenes = is_pusher(spec) and spec.height == spec.width and spec.channels == 3
    recordings = dataset or own_dataset
    needed = not has_scenes or dataset is not None
    train, store = (_store(recordings, name, needed) for name in ("train", split))
    if store is None and recordings is not None:
        announce(f"There are no recordings at {recordings} ({split} split): fresh scenes only.")
    for found in (train, store):
        if found is not None:
            spec.require_same_signals(found.spec, whose=str(found.path))
    steering = Steering(
        model,
        title,
        Starts(spec, model.num_context, store, has_scenes),
        Controls.of(spec, train),
        find_drag(spec, train, drag),
        Limits(sessions=max_sessions),
        threads,
        _hand_map(spec, recordings, folder, announce),
    )
    steering.warm_up()
    return steering


def serve(
    steering: Steering,
    listener: socket.socket,
    host: str,
    names: tuple[str, ...],
    open_browser: bool,
    announce: Callable[[str], None],
) -> None:
    """Serve at a bound socket until Ctrl-C."""
    token = "" if is_loopback(host) else secrets.token_urlsafe(16)
    door = Door(host, tuple(name.lower() for name in names), token)
    url = _url(host, listener.getsockname()[1], token)
    server = uvicorn.Server(settings(build_app(steering, door), steering.limits))
    announce(f"Steering {steering.title} at {url}")
    announce("Ctrl-C stops it.")
    if open_browser:
        threading.Thread(target=_open_page, args=(server, url), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    steering.close()
    announce("Stopped.")


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises UserError when the address is taken or is none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise UserError(f"Cannot use the address {host}:{port}: {error}.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(64)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(
            f"Cannot listen at {host}:{port}: {error}. Another --port may be free; "
            "--port 0 picks one."
        ) from None
    return listener


def settings(app: Any, limits: Limits) -> uvicorn.Config:
    """How uvicorn serves the app."""
    return uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=MAX_BYTES,
        ws_per_message_deflate=False,
        limit_concurrency=8 * limits.sessions + 64,
        timeout_graceful_shutdown=2,
    )


def _open(folder: Path | None, checkpoint: str | None) -> tuple[VideoModel[Any], str, Path | None]:
    """The model, its title, and the dataset it was trained on where that is known."""
    if folder is None or Package.is_one(folder):
        if checkpoint is not None:
            raise UserError("--checkpoint chooses among those of a run; an exported model has one.")
        package = Package.shipped() if folder is None else Package(folder)
        return package.load_model(), package.folder.resolve().name, None
    run = Run.open(folder)
    model = run.load_model(checkpoint or run.default_checkpoint())
    return model, run.folder.resolve().name, run.dataset()


def _hand_map(
    spec: ClipSpec, dataset: Path | None, folder: Path | None, announce: Callable[[str], None]
) -> HandMap | None:
    """Where in the picture the robot's hand is: known, learned once, or not to be had."""
    if is_pusher(spec) and spec.height == spec.width:
        return KnownCamera(spec.height)
    if dataset is None or Displacements.of(spec) is None:
        return None
    try:
        if folder is None or Package.is_one(folder):
            return learn_hand_eye(EpisodeStore.open(dataset, "train"))
        return saved_hand_eye(folder / "planning" / "hand_eye.json", dataset)
    except UserError as error:
        announce(f"Planning is in pixels: {error}")
        return None


def _store(dataset: Path | None, split: Split, needed: bool) -> EpisodeStore | None:
    if dataset is None:
        if needed:
            raise UserError("This model needs recordings to start from: name them with --data.")
        return None
    if not needed and not (dataset / f"{split}.h5").is_file():
        return None
    return EpisodeStore.open(dataset, split)


def _url(host: str, port: int, token: str) -> str:
    """The address to open; one that is bound to everything is reached by the machine's name."""
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + (f"#token={token}" if token else "")


def _open_page(server: uvicorn.Server, url: str) -> None:
    while not server.started:
        time.sleep(0.05)
    webbrowser.open(url)
