"""The server's manners, over real websockets on the loopback."""

from __future__ import annotations

import http.client
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from framecast.steering.session import MAX_FUTURES
from framecast.training.runs import Run
from tests.conftest import Outcome
from tests.steering.conftest import RIGHT, SCENE, Mover, Served, Talk, serving, steering_of

OPEN = {"start": SCENE.to_dict()}


def get(served: Served, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_the_page_is_served_under_a_strict_policy(served: Served):
    response, body = get(served, "/")
    assert response.status == 200
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"style=" not in body
    assert b"<script>" not in body
    assert b"://" not in body.replace(b"http://www.w3.org/2000/svg", b"")
    for name in ("main.js", "style.css", "icon.svg"):
        found, _ = get(served, f"/{name}")
        assert found.status == 200
        assert found.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/server.py", "/../server.py", "/%2e%2e/server.py", "/page/main.js", "/docs", "/x"]
)
def test_nothing_else_is_served(served: Served, path: str):
    assert get(served, path)[0].status == 404


def test_a_name_that_only_points_here_gets_nothing(served: Served):
    response, body = get(served, "/", Host="evil.example")
    assert response.status == 421
    assert b"framecast" not in body


@pytest.mark.parametrize(
    "options",
    [
        {"origin": "http://evil.example"},
        {"origin": None},
        {"host": "evil.example"},
    ],
)
def test_another_site_cannot_open_the_websocket(served: Served, options: dict):
    with pytest.raises(InvalidStatus) as refused:
        served.connect(**options)
    assert refused.value.response.status_code == 403


def test_the_token_opens_the_websocket_and_nothing_else_does(mover: Mover):
    with serving(steering_of(mover), token="tell-nobody") as served:
        for token in ("", "tell-nobod", "tell-nobody-x"):
            with pytest.raises(InvalidStatus):
                served.connect(token=token)
        with served.talk(token="tell-nobody") as talk:
            assert talk.welcome["type"] == "welcome"


def test_a_step_answers_with_every_future_and_the_truth(served: Served):
    with served.talk() as talk:
        talk.ask("adjust", futures=3, seed=4, latent=True)
        talk.ask("open", **OPEN)
        ((header, pixels),) = talk.ask("step", action=RIGHT)
        assert header["moment"] == 1
        assert header["parent"] == 0
        assert header["id"] == 7
        assert len(pixels) == 4 * 64 * 64 * 3
        assert len(header["psnr"]) == len(header["handles"]) == 3
        np.testing.assert_allclose(header["action"], RIGHT, atol=1e-6)


def test_every_answer_to_nonsense_is_an_error_and_the_session_lives_on(served: Served):
    with served.talk() as talk:
        talk.ask("open", **OPEN)
        for kind, fields in (
            ("stepp", {}),
            ("step", {}),
            ("step", {"action": [1, 2]}),
            ("step", {"action": [None] * 4}),
            ("step", {"recorded": True}),
            ("go", {"moment": 10**6}),
            ("adjust", {"futures": MAX_FUTURES + 1, "seed": 0, "latent": True}),
            ("save", {"format": "exe"}),
            ("open", {"start": {"kind": "clip", "number": 0}}),
            ("__class__", {}),
            ("think", {}),
            ("act", {}),
            ("plan", {}),
            ("plan", {"goal": [0.5, 0.5]}),
            ("plan", {"goal": [0.5, "0.5"], "future": 0}),
            ("plan", {"goal": [0.5, 0.5], "thing": [0.5], "future": 0}),
            ("plan", {"goal": [0.5, 0.5], "thing": [0.5, 7e9], "future": 0}),
            ("plan", {"goal": [0.5, 0.5], "thing": [0.5, 0.5], "future": MAX_FUTURES}),
            ("plan", {"goal": [0.5, 0.5], "future": 0}),
        ):
            ((header, _),) = talk.ask(kind, **fields)
            assert header["type"] == "error", (kind, header)
            assert header["id"] == 7
            assert header["message"]
        assert len(talk.ask("step", action=RIGHT)) == 1


def test_who_plans_holds_up_nobody(served: Served):
    order: list[str] = []
    with served.talk() as planner, served.talk() as other:
        for talk in (planner, other):
            talk.ask("open", **OPEN)
        ((standing, _),) = planner.ask("plan", thing=[0.5, 0.5], goal=[0.6, 0.5], future=0)
        assert standing["type"] == "standing"
        assert standing["undecided"]

        def think() -> None:
            for _ in range(2):
                thoughts = planner.ask("think")
                order.append(thoughts[-1][0]["type"])

        thinking = threading.Thread(target=think)
        thinking.start()
        for _ in range(12):
            other.ask("step", action=RIGHT)
            order.append("step")
        thinking.join(timeout=60)
        assert [kind for kind in order if kind != "step"] == ["round", "preview"]
        assert order.index("preview") > order.index("step") + 2
        (view, _), (standing, _) = planner.ask("act")
    assert (view["type"], view["moment"]) == ("view", 1)
    assert (standing["type"], standing["undecided"]) == ("standing", False)


def nonsense(source: random.Random) -> str | bytes:
    """Broken, strange and nearly right messages."""
    values = [
        None,
        -1,
        2**70,
        1.5,
        True,
        "",
        "x" * 50,
        [],
        {},
        [[]],
        [1e308] * 4,
        RIGHT,
        SCENE.kind,
    ]
    kinds = ["open", "step", "go", "resample", "adjust", "save", "plan", "think", "act", "", "\0"]
    kind = source.choice(kinds)
    names = ["action", "start", "path", "moment", "futures", "seed", "latent", "format", "recorded"]
    names += ["thing", "goal", "future"]
    fields = {name: source.choice(values) for name in source.sample(names, source.randint(0, 4))}
    text = json.dumps({"type": kind, "id": source.choice([*values, 5]), **fields})
    match source.randint(0, 6):
        case 0:
            return source.randbytes(source.randint(0, 200))
        case 1:
            return text[: source.randint(0, len(text))]
        case 2:
            return "".join(chr(source.randint(0, 0x2FFF)) for _ in range(source.randint(0, 80)))
        case 3:
            return source.choice("[{") * source.randint(1, 20_000)
        case _:
            return text


def test_ten_thousand_hostile_messages_break_and_leak_nothing(served: Served):
    source = random.Random(7)
    memory = []
    with served.talk() as talk:
        talk.ask("open", **OPEN)
        for batch in range(20):
            messages = [nonsense(source) for _ in range(500)]
            sender = threading.Thread(target=lambda m=messages: [talk.socket.send(x) for x in m])
            sender.start()
            ends = 0
            while ends < len(messages):
                header, _ = talk.hear()
                ends += header["type"] in ("done", "error")
                if header["type"] == "error":
                    assert 0 < len(header["message"]) < 400
            sender.join()
            if batch in (4, 19):
                memory.append(_resident())
        assert len(talk.ask("open", **OPEN)) == 1
        assert len(talk.ask("step", action=RIGHT)) == 1
    assert memory[1] - memory[0] < 60e6


def test_a_message_that_is_too_long_ends_its_own_session_only(served: Served):
    with served.talk() as other, served.talk() as talk:
        with pytest.raises(ConnectionClosed):
            talk.ask("open", start="x" * (1 << 19))
        assert len(other.ask("open", **OPEN)) == 1


def test_a_flood_is_slowed_down_and_told_so(mover: Mover):
    steering = steering_of(mover, messages_per_second=50, burst=5)
    with serving(steering) as served, served.talk() as talk:
        started = time.monotonic()
        for _ in range(20):
            talk.socket.send("{}")
        told = [talk.hear()[0]["message"] for _ in range(20 + 15)]
        assert time.monotonic() - started >= 14 / 50
        assert sum("Too many messages" in message for message in told) == 15


def test_places_are_bounded_and_freed_when_a_client_leaves(mover: Mover):
    with serving(steering_of(mover, sessions=2)) as served:
        first, second = served.talk(), served.talk()
        third = Talk(served.connect())
        assert "2 places are taken" in third.welcome["message"]
        with pytest.raises(ConnectionClosed) as closed:
            third.hear()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        first.socket.close()
        _wait_until(lambda: served.steering.active == 1)
        with served.talk() as late:
            assert late.welcome["type"] == "welcome"
        second.socket.close()
        _wait_until(lambda: served.steering.active == 0)


def test_a_silent_session_is_freed(mover: Mover):
    with serving(steering_of(mover, idle_seconds=0.3)) as served:
        talk = served.talk()
        with pytest.raises(ConnectionClosed):
            talk.hear(timeout=30)
        _wait_until(lambda: served.steering.active == 0)


def test_a_client_that_takes_nothing_in_stalls_nobody_and_is_dropped(mover: Mover):
    with serving(
        steering_of(mover, send_seconds=3, messages_per_second=1e6, burst=10**6)
    ) as served:
        lazy = served.talk(max_queue=1)
        lazy.ask("adjust", futures=9, seed=0, latent=True)
        lazy.ask("open", **OPEN)
        for number in range(400):  # asks for 40 MB and reads none of it
            lazy.socket.send(json.dumps({"type": "go", "moment": 0, "id": number}))
        with served.talk() as talk:
            talk.ask("open", **OPEN)
            started = time.monotonic()
            for _ in range(10):
                talk.ask("step", action=RIGHT)
            assert time.monotonic() - started < 10
        _wait_until(lambda: served.steering.active == 0, seconds=30)
        lazy.socket.close_socket()


def test_twenty_sessions_take_turns(mover: Mover):
    """A load test bounded in count and time; docs/steering.md has the figures of a real model."""
    steps, people = 8, 20
    finished: list[tuple[int, int]] = []
    with serving(steering_of(mover, sessions=people)) as served:
        talks = [served.talk() for _ in range(people)]
        for talk in talks:
            talk.ask("adjust", futures=2, seed=0, latent=True)
            talk.ask("open", **OPEN)

        def steer(person: int) -> None:
            for step in range(steps):
                assert len(talks[person].ask("step", action=RIGHT)) == 1
                finished.append((step, person))

        threads = [threading.Thread(target=steer, args=(person,)) for person in range(people)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert len(finished) == steps * people
        for talk in talks:
            talk.socket.close()
    # When anybody has taken half of their steps, everybody has taken some.
    half = next(index for index, (step, _) in enumerate(finished) if step == steps // 2)
    assert {person for _, person in finished[: half + people]} == set(range(people))


def test_a_failure_inside_is_told_to_nobody_else(served: Served, monkeypatch: pytest.MonkeyPatch):
    with served.talk() as talk, served.talk() as other:
        talk.ask("open", **OPEN)
        other.ask("open", **OPEN)
        with monkeypatch.context() as patch:
            patch.setattr(Mover, "imagine", lambda *_: 1 / 0)
            ((header, _),) = talk.ask("step", action=RIGHT)
        assert "failed inside" in header["message"]
        assert "ZeroDivision" not in header["message"]
        assert len(other.ask("step", action=RIGHT)) == 1
        assert len(talk.ask("step", action=RIGHT)) == 1


def test_ctrl_c_ends_the_command_cleanly(run_folder: Path):
    code = "import sys; from framecast.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "steer", str(run_folder), "--port", "0", "--no-browser"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    url = next(line.split()[-1] for line in process.stdout if "http://" in line)
    host, port = url.removeprefix("http://").strip("/").split(":")
    served = Served(None, int(port), None)  # type: ignore[arg-type]
    talk = served.talk()
    assert host == "127.0.0.1"
    assert talk.welcome["drag"] == [0, 1]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert err == ""
    assert out.strip().endswith("Stopped.")
    talk.socket.close_socket()


def test_a_port_that_is_taken_is_one_line(
    served: Served, run_folder: Path, framecast: Callable[..., Outcome]
):
    done = framecast("steer", run_folder, "--port", served.port, "--no-browser")
    assert f"Cannot listen at 127.0.0.1:{served.port}" in done.one_line()
    assert "--port 0" in done.err


def test_wrong_folders_are_one_line(
    tmp_path: Path, run_folder: Path, framecast: Callable[..., Outcome]
):
    assert "is not a run folder" in framecast("steer", tmp_path).one_line()
    gone = framecast("steer", run_folder, "--data", tmp_path / "gone")
    assert "is not a dataset folder" in gone.one_line()
    assert Run(run_folder).dataset().is_dir()
    assert "--sessions" in framecast("steer", run_folder, "--sessions", 0).one_line()


def _resident() -> float:
    """Bytes of this process in memory, or the most there ever were where that is not told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return pages * resource.getpagesize()


def _wait_until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
