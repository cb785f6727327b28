"""Who may connect, and what may be said."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from framecast.errors import UserError
from framecast.steering.guards import Allowance, Door, Limits, is_loopback
from framecast.steering.messages import Message, pack, unpack


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8420", "localhost", "LOCALHOST:9", "[::1]:8420", "127.0.0.2:1"],
)
def test_the_loopback_is_ours_by_its_names(host: str):
    assert Door("127.0.0.1").host_is_ours(host)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8420", "127.0.0.1.evil.example", "localhost.evil.example"),
        *("192.168.1.7:8420", "", "[", "[::1", "127.0.0.1@evil.example", None, "0x7f.1"),
    ],
)
def test_a_name_that_only_points_here_is_not_ours(host: str | None):
    assert not Door("127.0.0.1").host_is_ours(host)


def test_off_the_loopback_addresses_and_given_names_are_ours():
    door = Door("0.0.0.0", ("robot.lab",), token="secret")
    for host in ("192.168.1.7:8420", "robot.lab", "Robot.Lab:8420", "[fe80::1]:8420"):
        assert door.host_is_ours(host)
    assert not door.host_is_ours("evil.example")


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("http://127.0.0.1:8420", True),
        ("https://127.0.0.1:8420", True),
        ("http://127.0.0.1:8421", False),
        ("http://localhost:8420", False),
        ("http://evil.example", False),
        ("null", False),
        ("file://", False),
        ("http://[", False),
        (None, False),
    ],
)
def test_only_our_own_page_may_open_the_websocket(origin: str | None, ours: bool):
    assert Door("127.0.0.1").origin_is_ours(origin, "127.0.0.1:8420") is ours


def test_a_token_is_asked_for_where_there_is_one():
    assert Door("127.0.0.1").token_is_right(None)
    door = Door("0.0.0.0", token="sëcret")
    assert door.token_is_right("sëcret")
    assert not any(door.token_is_right(guess) for guess in (None, "", "secret", "sëcret "))


def test_loopback_is_told_from_the_network():
    assert all(is_loopback(host) for host in ("127.0.0.1", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.1", "robot.lab"))


def test_a_flood_is_read_at_the_rate_that_is_granted(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    allowance = Allowance(Limits(messages_per_second=10, burst=5))
    assert [allowance.take() for _ in range(5)] == [0] * 5
    assert allowance.take() == pytest.approx(0.1)
    now[0] += 1
    assert allowance.take() == 0


HOSTILE = [
    *("", "{", "[]", "null", "7", '"step"', "{}", '{"type": 1}', '{"type": null}', "\x00"),
    *('{"type": "step", "id": -1}', '{"type": "step", "id": "1"}', '{"type": "step", "id": 1.5}'),
    *('{"type": "step", "id": true}', '{"type": "step", "id": 1e400}', "[" * 50_000),
    *('{"type": "x", "id": NaN}', '{"type": "x", "a": ' + "9" * 5000 + "}", '{"a":' * 9000),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_message_is_refused_in_one_line(text: str):
    with pytest.raises(UserError) as refused:
        Message.parse(text)
    assert len(str(refused.value)) < 200
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "action",
    [
        *(None, "abc", {}, [], [1], [1, 2, 3], [1, "2"], [True, False], [None, 1]),
        *([[1], [2]], [1e400, 0], [10**400, 0]),
    ],
)
def test_an_action_is_so_many_finite_numbers(action: object):
    message = Message("step", None, {"action": action})
    with pytest.raises(UserError, match="2 finite numbers"):
        message.action(2)


def test_huge_numbers_stay_finite():
    assert np.isfinite(Message("step", None, {"action": [1e290, -1e39]}).action(2)).all()


@pytest.mark.parametrize(
    "path",
    [
        *("no", [1], [{}], [{"action": [1, 2], "seed": -1}], [{"action": [1, 2], "seed": 2**31}]),
        *([{"action": [1, 2], "seed": "0"}], [{"action": [1, 2], "seed": 0}] * 601),
    ],
)
def test_a_path_is_a_bounded_list_of_steps(path: object):
    with pytest.raises(UserError):
        Message("open", None, {"path": path}).path(2)


@pytest.mark.parametrize(
    "start",
    [
        *(None, 1, {}, {"kind": "clip"}, {"kind": "file", "number": 1}),
        *({"kind": "clip", "number": -1}, {"kind": "clip", "number": 1, "frame": 2.5}),
        {"kind": "scene", "number": 2**31},
    ],
)
def test_a_start_is_a_kind_and_a_number(start: object):
    with pytest.raises(UserError, match="'open' needs 'start'"):
        Message("open", None, {"start": start}).start()


def test_binary_messages_come_apart_as_they_were_put_together():
    header, payload = unpack(pack({"type": "view", "id": None, "é": 1}, b"abc", b"d"))
    assert header == {"type": "view", "id": None, "é": 1}
    assert payload == b"abcd"
    with pytest.raises(ValueError, match="JSON"):
        pack({"psnr": float("nan")})
    assert json.dumps(header)
