"""A goal that a person clicked, pursued with a planner: think a round, act a step, look again.

The planner and its budget are those of `framecast plan`. It sees the last true frames for as long
as the truth obeys the commands; else (a recording that is departed from) what was imagined. Nothing
runs on by itself: every call is a few turns, so stopping is to ask for nothing more.

Places in the picture are (across, down) as shares of its width and height.

Shape letters: N candidates, P predicted frames, H W C image, A action, S state, M marks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framecast import pictures
from framecast.errors import UserError
from framecast.models.threads import even_parts, in_threads
from framecast.planning.actions import ActionBox
from framecast.planning.control import Controller, Decision
from framecast.planning.costs import Cost, DesignatedPixel, EndEffector, image_tensor
from framecast.planning.futures import Futures, Present
from framecast.planning.handmap import HandMap
from framecast.planning.imagination import ImaginationConfig, require_actions
from framecast.planning.planners import PlannerConfig, Proposals
from framecast.planning.robot import Displacements
from framecast.steering.drag import Floats
from framecast.steering.moments import Moment
from framecast.steering.session import Session, Turns
from framecast.steering.sight import Sight, obeys

Place = tuple[float, float]

PLANNER = PlannerConfig(candidates=32, rounds=2)
IMAGINATION = ImaginationConfig()
EXECUTE = 2  # actions of a plan, before the next one
TURN = 8  # candidates imagined in one turn, shared among threads
CLOSED = "gripper"  # is held at its highest while something is pushed, as in plan-bench


@dataclass(frozen=True)
class Round:
    """What one round of planning imagined.

    Attributes:
        index, count: this round, from 1, of how many.
        gripper: (N, P + 1, 2) places of the end effector, or None where they are not known.
        thing: (N, P + 1, 2) places of the designated thing, or None without one.
        elites: indices of the best candidates, the best first.
        best, mean: costs of the candidates.
    """

    index: int
    count: int
    gripper: Floats | None
    thing: Floats | None
    elites: list[int]
    best: float
    mean: float


@dataclass(frozen=True)
class Preview:
    """The best plan and what is imagined of it.

    Attributes:
        frames: (P, H, W, 3) uint8
        gripper, thing: (P + 1, 2), or None, as in Round
    """

    frames: NDArray[np.uint8]
    gripper: Floats | None
    thing: Floats | None


@dataclass(frozen=True)
class Standing:
    """How a pursuit stands.

    Attributes:
        sees_truth: whether it plans from true frames.
        thing: where the designated thing is, or None without one.
        remaining: distance to the goal, in `unit` (m or px).
        undecided: whether it has to think before it can act.
    """

    sees_truth: bool
    thing: Place | None
    goal: Place
    remaining: float
    unit: str
    reached: bool
    undecided: bool


class Pursuit:
    """One goal, from the moment in which it was clicked.

    Args:
        thing: a place on what should be moved; None moves the end effector itself.
        future: which of the session's futures is looked at where the truth is not known.

    Raises UserError for a place outside, with nothing on it or out of reach, and for a model that
    cannot be planned with.
    """

    def __init__(self, session: Session, thing: Place | None, goal: Place, future: int) -> None:
        self.session = session
        model, moment = session.model, session.current
        self.has_thing = thing is not None
        self.size = np.array([model.spec.width, model.spec.height])
        self.sight = Sight(session.beginning, model, future)
        bare = self.sight.present(moment, torch.zeros(0, 2))
        require_actions(model, bare)
        self.goal = goal
        self.cost = self._cost(bare, thing, goal)
        self.places = {moment.number: _stacked([mark.place for mark in self.cost.marks])}
        box = ActionBox.of(model.spec, fixed=self._held())
        self.controller = Controller(
            model, self.cost, box, PLANNER, IMAGINATION, session.seed, EXECUTE
        )
        self.proposals: Proposals[Decision] | None = None
        self.candidates = torch.zeros(0)  # (N, H, A), proposed and not yet imagined
        self.thinks_of = self.stands_at = moment

    def standing(self) -> Standing:
        """How it stands at the session's present moment."""
        moment = self.session.current
        present = self._present(moment)
        remaining = self.cost.remaining(present)
        place = self._shares(present.places[0]) if self.has_thing else None
        return Standing(
            obeys(moment),
            None if place is None else (float(place[0]), float(place[1])),
            self.goal,
            remaining,
            "px" if self.has_thing and self.session.hand_map is None else "m",
            remaining < self.cost.done,
            not self._is_decided(),
        )

    def think(self) -> Iterator[Round | Preview | None]:
        """Imagine one more round of candidates; after the last, the best plan is at hand."""
        moment = self.session.current
        if self.proposals is None or self.thinks_of is not moment:
            self._begin(moment)
        assert self.proposals is not None
        device = self.controller.seen.device
        seen: list[tuple[Tensor, Floats | None, Floats | None]] = []
        for turn in torch.split(self.candidates, TURN):
            parts = even_parts(len(turn), TURN, device)
            shares = [turn[part.start : part.stop] for part in parts]
            seen += in_threads(partial(self._imagined, moment), shares, device)
            yield None
        costs = torch.cat([part[0] for part in seen])
        self.rounds += 1
        yield self._round(costs, _joined(part[1] for part in seen), _joined(p[2] for p in seen))
        try:
            self.candidates = self.proposals.send(costs)
        except StopIteration as end:
            yield self._decided(moment, end.value)

    def act(self) -> Turns:
        """Take the plan's next action as a step of the session."""
        if not self._is_decided():
            raise UserError("Nothing is decided for this moment yet: think first.")
        action = self.controller.queue[0].numpy().astype(np.float32)
        yield from self.session.step(action)
        self.controller.queue.pop(0)
        self.stands_at = self.session.current

    def _imagined(
        self, moment: Moment, candidates: Tensor
    ) -> tuple[Tensor, Floats | None, Floats | None]:
        """Costs of some candidates, and the places of gripper and thing."""
        futures = self.controller.seen.futures(candidates)
        costs = self.cost(futures).float().cpu()
        return costs, self._gripper(moment, futures), self._thing(futures)

    def _is_decided(self) -> bool:
        return bool(self.controller.queue) and self.stands_at is self.session.current

    def _begin(self, moment: Moment) -> None:
        """Start to decide at this moment; the last plan is of use only where it has led here."""
        if self.stands_at is not moment:
            self.controller.planner.forget()
        self.controller.queue = []
        self.stands_at = self.thinks_of = moment
        self.present, self.rounds = self._present(moment), 0
        self.proposals = self.controller.proposals(self.present)
        self.candidates = next(self.proposals)

    def _decided(self, moment: Moment, decision: Decision) -> Preview:
        self.proposals = None
        self.controller.decisions.clear()  # frames of every decision would add up
        self.controller.adopt(decision)
        futures = self.controller.seen.futures(decision.plan.commands[None])
        gripper, thing = self._gripper(moment, futures), self._thing(futures)
        return Preview(
            pictures.to_uint8(decision.imagined.cpu().numpy()),
            None if gripper is None else gripper[0],
            None if thing is None else thing[0],
        )

    def _round(self, costs: Tensor, gripper: Floats | None, thing: Floats | None) -> Round:
        elites = costs.argsort()[: PLANNER.num_elites].tolist()
        best, mean = float(costs.min()), float(costs.mean())
        return Round(self.rounds, PLANNER.rounds, gripper, thing, elites, best, mean)

    def _cost(self, present: Present, thing: Place | None, goal: Place) -> Cost:
        spec, hand_map = self.session.model.spec, self.session.hand_map
        for place in (thing, goal):
            if place is not None and not all(0 <= share < 1 for share in place):
                raise UserError("That place is outside the picture: click inside it.")
        across, down = (float(value) for value in self.size * goal)
        if thing is not None:
            first = tuple(float(value) for value in self.size * thing)
            return DesignatedPixel(
                present.frames[-1], (first[0], first[1]), (across, down), spec, hand_map
            )
        if hand_map is None or present.states is None:
            raise UserError(
                "Where the gripper is in the picture is not known for this model. "
                "Click an object and where it should go."
            )
        return EndEffector(reach_goal(hand_map, (across, down)), spec, done=0.01)

    def _held(self) -> dict[str, float]:
        """A gripper that pushes is closed; one that only goes somewhere stays as it is."""
        action = self.session.model.spec.action
        if CLOSED not in action.names or Displacements.of(self.session.model.spec) is None:
            return {}
        index = action.names.index(CLOSED)
        if self.has_thing:
            return {CLOSED: action.high[index]}
        last = self.sight.actions(self.session.current)[-1:]
        value = float(last[0][index]) if len(last) else action.low[index]
        return {CLOSED: min(max(value, action.low[index]), action.high[index])}

    def _present(self, moment: Moment) -> Present:
        return self.sight.present(moment, self._places(moment))

    def _places(self, moment: Moment) -> Tensor:
        """Pixels (M, 2) of the marks, followed from the moment in which they were clicked."""
        line: list[Moment] = []
        at: Moment | None = moment
        while at is not None and at.number not in self.places:
            line.append(at)
            at = at.parent
        if at is None:
            raise UserError("The goal was clicked in another moment: click it again in this one.")
        places = self.places[at.number]
        for later in reversed(line):
            frame = image_tensor(self.sight.picture(later))[None]
            places = _stacked(
                [
                    mark.find(frame, place[None])[0][0]
                    for mark, place in zip(self.cost.marks, places, strict=True)
                ]
            )
            self.places[later.number] = places
        return places

    def _gripper(self, moment: Moment, futures: Futures) -> Floats | None:
        """Places (N, P + 1, 2) of the end effector in imagined futures."""
        drag = self.session.drag
        if drag is None:
            return None
        start = self.sight.position(moment, drag)
        states = None if futures.states is None else futures.states.cpu().numpy()
        actions = futures.actions.cpu().numpy()
        paths = []
        for candidate in range(actions.shape[1]):
            path, position = [start], start
            for step in range(len(actions)):
                if states is None:
                    position = drag.after(position, actions[step, candidate])
                else:
                    position = drag.locate(moment.frames, states[step, candidate])
                path.append(position)
            paths.append([drag.place(position) for position in path])
        return np.array(paths)

    def _thing(self, futures: Futures) -> Floats | None:
        """Places (N, P + 1, 2) of the designated thing in imagined futures."""
        if not self.has_thing:
            return None
        tracks = futures.tracks[:, :, 0]
        start = self.present.places[0].to(tracks).expand(1, tracks.shape[1], 2)
        return self._shares(torch.cat([start, tracks]).transpose(0, 1))

    def _shares(self, pixels: Tensor) -> Floats:
        shares: Floats = pixels.double().cpu().numpy() / self.size
        return shares


def reach_goal(hand_map: HandMap, pixel: Place) -> list[float]:
    """The position x, y, z of a hand that touches down at a pixel."""
    x, y = hand_map.places(np.array([pixel]))[0]
    return [float(x), float(y), hand_map.contact_height]


def _stacked(places: list[Tensor]) -> Tensor:
    return torch.stack(places) if places else torch.zeros(0, 2)


def _joined(parts: Iterable[Floats | None]) -> Floats | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None
