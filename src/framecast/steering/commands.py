"""What a browser can ask of a session: one function a message type.

A command is an iterator of turns; what it yields is sent, and None only ends a turn. A new one is a
function here, an entry in COMMANDS, and a module of the page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from framecast.errors import UserError
from framecast.steering import saving
from framecast.steering.drag import Floats
from framecast.steering.messages import Message, pack
from framecast.steering.moments import Moment
from framecast.steering.pursuit import Preview, Pursuit, Round
from framecast.steering.session import MAX_FUTURES, Session, Turns
from framecast.steering.starts import MAX_SEED

Replies = Iterator[bytes | None]
Command = Callable[[Session, Message], Replies]


def open_start(session: Session, message: Message) -> Replies:
    size = session.model.spec.action.size
    yield from _views(session, message, session.open(message.start(), message.path(size)))


def step(session: Session, message: Message) -> Replies:
    recorded = message.flag("recorded", default=False)
    action = None if recorded else message.action(session.model.spec.action.size)
    yield from _views(session, message, session.step(action))


def go(session: Session, message: Message) -> Replies:
    yield from _views(session, message, session.go(message.number("moment", 0, MAX_SEED)))


def resample(session: Session, message: Message) -> Replies:
    yield from _views(session, message, session.resample())


def adjust(session: Session, message: Message) -> Replies:
    futures = message.number("futures", 1, MAX_FUTURES)
    seed, latent = message.number("seed", 0, MAX_SEED), message.flag("latent")
    yield from _views(session, message, session.adjust(futures, seed, latent))


def save(session: Session, message: Message) -> Replies:
    kind = message.choice("format", tuple(saving.FORMATS))
    content = saving.FORMATS[kind](session)
    yield pack({"type": "file", "id": message.id, "name": f"framecast.{kind}"}, content)


def plan(session: Session, message: Message) -> Replies:
    """Take on a goal: a designated thing, or without one the end effector, should go to a place."""
    has_thing = message.fields.get("thing") is not None
    thing, goal = message.place("thing") if has_thing else None, message.place("goal")
    future = message.number("future", 0, MAX_FUTURES - 1)
    session.opened()
    session.pursuit = Pursuit(session, thing, goal, future)
    yield standing(session.pursuit, message)


def think(session: Session, message: Message) -> Replies:
    """One more round of planning."""
    for thought in _pursuit(session).think():
        if isinstance(thought, Round):
            yield _round(thought, message)
        elif isinstance(thought, Preview):
            yield _preview(thought, message)
        else:
            yield None


def act(session: Session, message: Message) -> Replies:
    """The plan's next action, as a step like any other."""
    pursuit = _pursuit(session)
    yield from _views(session, message, pursuit.act())
    yield standing(pursuit, message)


COMMANDS: dict[str, Command] = {
    "open": open_start,
    "step": step,
    "go": go,
    "resample": resample,
    "adjust": adjust,
    "save": save,
    "plan": plan,
    "think": think,
    "act": act,
}
SLOW = ("save",)  # these use no model, and have a thread of their own


def view(session: Session, moment: Moment, message: Message, seconds: float) -> bytes:
    """One moment as a binary message: the pixels of every future, then those of the truth."""
    frames = moment.frames[: session.futures]
    count = len(frames)
    step, truth, drag = moment.step, moment.truth, session.drag
    header: dict[str, Any] = {
        "type": "view",
        "id": message.id,
        "moment": moment.number,
        "parent": None if moment.parent is None else moment.parent.number,
        "depth": moment.depth,
        "futures": count,
        "action": _action_before(session, moment),
        "step_seed": None if step is None else step.seed,
        "seed": session.seed,
        "psnr": [round(score, 3) for score in moment.psnr[:count]],
        "milliseconds": round(seconds * 1000, 1),
        "start": session.start.to_dict(),
        "truth": None if truth is None else {"commanded": truth.commanded},
        "recorded": None,
    }
    recorded = session.recorded_action(moment)
    if recorded is not None:
        header["recorded"] = recorded.tolist()
    if drag is not None:
        positions = moment.positions[:count]
        header["handles"] = [drag.place(position).tolist() for position in positions]
        header["effects"] = [drag.effect(position).tolist() for position in positions]
    if drag is not None and truth is not None and truth.state is not None:
        position = drag.locate(truth.picture[None], truth.state)
        header["true_handle"] = drag.place(position).tolist()
    pixels = [frames.tobytes()] if truth is None else [frames.tobytes(), truth.picture.tobytes()]
    return pack(header, *pixels)


def _action_before(session: Session, moment: Moment) -> list[float] | None:
    """What led to this moment: the step, or the context's last action."""
    if moment.step is not None:
        return list(moment.step.action.tolist())
    actions = session.beginning.actions
    return list(actions[-1].tolist()) if len(actions) else None


def _views(session: Session, message: Message, turns: Turns) -> Replies:
    while True:
        started = time.perf_counter()
        try:
            moment = next(turns)
        except StopIteration:
            return
        seconds = time.perf_counter() - started
        yield None if moment is None else view(session, moment, message, seconds)


def standing(pursuit: Pursuit, message: Message) -> bytes:
    """How a pursuit stands at the present moment."""
    known = pursuit.standing()
    return pack(
        {
            "type": "standing",
            "id": message.id,
            "moment": pursuit.session.current.number,
            "sees": "truth" if known.sees_truth else "imagined",
            "thing": known.thing,
            "goal": known.goal,
            "remaining": known.remaining,
            "unit": known.unit,
            "reached": known.reached,
            "undecided": known.undecided,
        }
    )


def _pursuit(session: Session) -> Pursuit:
    session.opened()
    if session.pursuit is None:
        raise UserError("There is no goal to plan for: click one first.")
    return session.pursuit


def _round(thought: Round, message: Message) -> bytes:
    return pack(
        {
            "type": "round",
            "id": message.id,
            "index": thought.index,
            "count": thought.count,
            "best": float(np.nan_to_num(thought.best)),
            "mean": float(np.nan_to_num(thought.mean)),
            "gripper": _numbers(thought.gripper),
            "thing": _numbers(thought.thing),
            "elites": thought.elites,
        }
    )


def _preview(thought: Preview, message: Message) -> bytes:
    header = {
        "type": "preview",
        "id": message.id,
        "count": len(thought.frames),
        "gripper": _numbers(thought.gripper),
        "thing": _numbers(thought.thing),
    }
    return pack(header, thought.frames.tobytes())


def _numbers(places: Floats | None) -> Any:
    """As JSON: finite, and as exact as a screen shows."""
    return None if places is None else np.nan_to_num(places).round(4).tolist()
