"""How fast a model can be steered, how a server bears twenty people, and whether it obeys.

    python benchmarks/steering.py RUN                       # a run of the pusher, or an export
    python benchmarks/steering.py RUN --data data/pusher    # and how well it follows commands

Prints one Markdown table. Bounded in count and time: 40 steps a measurement, 20 people of 15 steps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from websockets.sync.client import connect

from framecast.data.episodes import EpisodeStore
from framecast.data.windows import Windows
from framecast.steering.messages import unpack
from framecast.steering.serving import prepare
from framecast.steering.starts import Start
from framecast.training.schedules import latent_noise

STEPS, PEOPLE, STEPS_EACH = 40, 20, 15
COMMANDS = [[0.03, 0.0, 0.0, -1.0], [0.0, 0.03, 0.0, -1.0], [-0.03, -0.02, 0.0, -1.0]]
MIN_COMMAND = 0.01  # metres in the plane; smaller ones say little about a direction
CLIPS = 100


class Client:
    """Asks and waits, as the page does."""

    def __init__(self, port: int) -> None:
        line = socket.create_connection(("127.0.0.1", port))
        self.socket = connect(
            f"ws://127.0.0.1:{port}/steer",
            sock=line,
            origin=f"http://127.0.0.1:{port}",
            max_size=None,
            compression=None,
        ).__enter__()
        for _ in range(2):  # welcome and contact sheet
            self.socket.recv(timeout=120)

    def ask(self, type: str, **fields: Any) -> float:
        """Seconds until the answer was complete."""
        started = time.perf_counter()
        self.socket.send(json.dumps({"type": type, "id": 1, **fields}))
        while True:
            data = self.socket.recv(timeout=120)
            header = json.loads(data) if isinstance(data, str) else unpack(data)[0]
            if header["type"] == "error":
                raise SystemExit(header["message"])
            if header["type"] == "done":
                return time.perf_counter() - started

    def begin(self, futures: int) -> None:
        self.ask("adjust", futures=futures, seed=0, latent=True)
        self.ask("open", start={"kind": "scene", "number": 5})

    def steer(self, steps: int) -> list[float]:
        return [self.ask("step", action=COMMANDS[step % 3]) for step in range(steps)]


@contextmanager
def server(run: Path) -> Iterator[tuple[int, int]]:
    """The real command; its port and its process."""
    code = "import sys; from framecast.cli import main; sys.exit(main())"
    command = [sys.executable, "-u", "-c", code, "steer", str(run), "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = next(int(found[1]) for line in process.stdout if (found := re.search(r":(\d+)/", line)))
    try:
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


def resident_megabytes(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1000


def speed(port: int) -> Iterator[tuple[str, str]]:
    for futures in (1, 9):
        client = Client(port)
        client.begin(futures)
        first, *later = client.steer(STEPS)
        rate = 1 / statistics.median(later)
        what = "future" if futures == 1 else "futures"
        yield f"{futures} {what}, one person", f"{rate:.1f} steps a second (median of {len(later)})"
        if futures == 1:
            yield "first frame after a command", f"{first * 1000:.0f} ms"
        client.socket.close()


def cost(run: Path) -> Iterator[tuple[str, str]]:
    """Processor time, which a machine that is shared does not blur as much."""
    steering = prepare(run, None, None, "test", "none", threads=1)
    torch.set_num_threads(1)
    for futures in (1, 9):
        session = steering.session()
        list(session.adjust(futures, 0, True))
        list(session.open(Start("scene", 5)))
        spent = []
        for step in range(STEPS):
            started = time.process_time()
            list(session.step(np.array(COMMANDS[step % 3], np.float32)))
            spent.append(time.process_time() - started)
        seconds = statistics.median(spent)
        what = "future" if futures == 1 else "futures"
        yield (
            f"{futures} {what}, processor time a step, truth included",
            f"{seconds * 1000:.0f} ms of one core: {1 / seconds:.0f} steps a second",
        )
    steering.close()


def load(port: int, process: int) -> Iterator[tuple[str, str]]:
    before = resident_megabytes(process)
    clients = [Client(port) for _ in range(PEOPLE)]
    for client in clients:
        client.begin(1)
    waits: list[list[float]] = [[] for _ in clients]
    started = time.perf_counter()

    def steer(index: int) -> None:
        waits[index] = clients[index].steer(STEPS_EACH)

    threads = [threading.Thread(target=steer, args=(index,)) for index in range(PEOPLE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    seconds = time.perf_counter() - started
    totals = [sum(wait) for wait in waits]
    every = sorted(second for wait in waits for second in wait)
    yield f"{PEOPLE} people at once", f"{PEOPLE * STEPS_EACH / seconds:.1f} steps a second in all"
    yield (
        "… wait for a step",
        (f"median {statistics.median(every) * 1000:.0f} ms, longest {every[-1] * 1000:.0f} ms"),
    )
    yield "… slowest person against the fastest", f"{max(totals) / min(totals):.2f} times"
    yield "… memory of the server", f"{before:.0f} MB before, {resident_megabytes(process):.0f} MB"
    for client in clients:
        client.socket.close()
    time.sleep(1)
    yield "… after they left", f"{resident_megabytes(process):.0f} MB"


def obedience(run: Path, dataset: Path) -> Iterator[tuple[str, str]]:
    """How often the arm moves in predicted frames as it does in true ones, over 2 -> 10."""
    steering = prepare(run, None, dataset, "test", None)
    model = steering.model
    windows = Windows(EpisodeStore.open(dataset, "test"), 12)
    starts = windows.disjoint()[:CLIPS]
    followed = []
    for batch in windows.batches(starts, 20):
        noise = latent_noise((10, batch.batch_size, model.latent_dim), 0, 0)
        future = model.predict(batch, 2, noise, states_given=False)
        true = batch.float_frames(torch.float32)[1:]
        seen = torch.cat([true[:1], future])
        moves, expected = (np.diff(arm_places(frames), axis=0) for frames in (seen, true))
        commanded = batch.actions[1:, :, :2].norm(dim=-1).numpy() >= MIN_COMMAND
        agree = (moves * expected).sum(axis=-1) > 0
        followed.append(agree[commanded])
    steering.close()
    steps = np.concatenate(followed)
    yield "steps whose motion follows the simulator's", f"{steps.mean():.1%} of {len(steps)}"


def arm_places(frames: torch.Tensor) -> np.ndarray:
    """(T, B, 2) the centre of the red arm, which hangs over everything else that is red.

    What is red and lies still, by the average over time, is taken off.
    """
    red = (frames[:, :, 0] - frames[:, :, 1:].amax(dim=2)).clamp(min=0).numpy()
    red = np.clip(red - np.minimum.reduce(red), 0, None)
    height, width = red.shape[-2:]
    total = np.maximum(red.sum(axis=(-1, -2)), 1e-6)
    across = (red.sum(axis=-2) * np.arange(width)).sum(axis=-1) / total
    down = (red.sum(axis=-1) * np.arange(height)).sum(axis=-1) / total
    return np.stack([across, down], axis=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, help="a dataset of the pusher, for the last row")
    options = parser.parse_args()
    rows = [("machine", f"{platform.machine()}, {os.cpu_count()} cores")]
    rows += cost(options.run)
    with server(options.run) as (port, process):
        rows += [*speed(port), *load(port, process)]
    if options.data:
        rows += obedience(options.run, options.data)
    print("| | |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
