"""One person's tree of imagined moments.

Nothing is overwritten: a step makes a child, undo goes to the parent, and a step from an earlier
moment is a branch. Frames are kept; the model's states are kept while they fit a budget, and are
otherwise imagined again, which gives the same ones, because a seed names a future.

Every command is an iterator of turns, so that many sessions can share one model: a turn takes at
most one step of the model, and yields the moment to show, or None.

Shape letters: N futures, K context frames, H W image, A action, Z latent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from framecast import pictures
from framecast.errors import UserError
from framecast.models.base import RolloutState, VideoModel
from framecast.planning.handmap import HandMap
from framecast.steering.controls import Controls
from framecast.steering.drag import DragMap, Floats
from framecast.steering.moments import Action, Moment, Seen, StateCache, Step
from framecast.steering.starts import MAX_SEED, Beginning, Start, Starts
from framecast.steering.truth import in_colour
from framecast.training.schedules import latent_noise

if TYPE_CHECKING:
    from framecast.steering.pursuit import Pursuit

MAX_FUTURES = 9
FRAME_BUDGET = 32 << 20  # bytes of frames that a session may keep
STATE_BUDGET = 32 << 20  # bytes of model states
Turns = Iterator[Moment | None]


class Session:
    """Steers one model, one start at a time.

    Attributes:
        current: the moment at which the next step begins.
        futures, seed, latent: how many futures there are, what the next steps are drawn from, and
            whether they are drawn at all or take the prior's mean.
        hand_map: where in the picture the robot's hand is, for planning in metres.
        pursuit: the goal that is planned for.

    Raises UserError for whatever a person can do differently.
    """

    def __init__(
        self,
        model: VideoModel[Any],
        starts: Starts,
        controls: Controls,
        drag: DragMap | None,
        hand_map: HandMap | None = None,
    ) -> None:
        self.model, self.starts = model, starts
        self.controls, self.drag, self.hand_map = controls, drag, hand_map
        self.device = next(model.parameters()).device
        self.futures, self.seed, self.latent = 1, 0, True
        self.moments: list[Moment] = []
        self.pursuit: Pursuit | None = None
        self.states = StateCache(STATE_BUDGET)

    def open(self, start: Start, path: Sequence[Step] = ()) -> Turns:
        """Begin anew from a start, then take the steps of a path (a shared link)."""
        beginning = self.starts.begin(start)
        self.start, self.beginning, self.pursuit = start, beginning, None
        self.states = StateCache(STATE_BUDGET)
        self.context_state = self._observe(beginning)
        self.current = self._root(beginning)
        self.moments = [self.current]
        yield self.current
        for step in path:
            yield from self._advance(step)

    def step(self, action: Action | None) -> Turns:
        """Take one action, or the one that was recorded here where it is None."""
        moment = self.opened()
        if action is None:
            action = self.recorded_action(moment)
        if action is None:
            raise UserError("Nothing more was recorded here: steer it yourself.")
        yield from self._advance(Step(self.controls.bounded(action), self._next_seed()))

    def go(self, number: int) -> Turns:
        """Make any moment of the tree the current one, with as many futures as are wanted."""
        self.opened()
        if not 0 <= number < len(self.moments):
            raise UserError(f"There is no moment {number}; there are {len(self.moments)}.")
        self.current = self.moments[number]
        yield from self._with_all_futures()

    def resample(self) -> Turns:
        """Take the last step once more with fresh seeds, as a branch; later steps use them too."""
        moment = self.opened()
        self.seed = (self.seed + MAX_FUTURES) % MAX_SEED
        if moment.parent is None or moment.step is None:
            yield moment
            return
        self.current = moment.parent
        yield from self._advance(Step(moment.step.action, self._next_seed()))

    def adjust(self, futures: int, seed: int, latent: bool) -> Turns:
        """Choose how many futures there are, and what the next steps are drawn from."""
        self.futures, self.seed, self.latent = futures, seed, latent
        if self.moments:
            yield from self._with_all_futures()

    def recorded_action(self, moment: Moment) -> Action | None:
        """What the recording commands here."""
        known = moment.truth
        return None if known is None else self.beginning.truth.recorded_action(known)

    def opened(self) -> Moment:
        """The current moment. Raises UserError where nothing has been opened."""
        if not self.moments:
            raise UserError("Choose a start first.")
        return self.current

    def _next_seed(self) -> int | None:
        return self.seed if self.latent and self.model.latent_dim else None

    def _advance(self, step: Step) -> Turns:
        """Go to the child of the current moment by this step; make it unless it is there."""
        parent = self.current
        known = parent.child_by(step)
        if known is not None:
            self.current = known
            yield from self._with_all_futures()
            return
        self._require_room()
        yield from self._restore(parent)
        number = len(self.moments)
        seen = self._imagine(parent, step, number)
        truth = parent.truth and self.beginning.truth.after(parent.truth, step.action)
        self.current = Moment(number, parent, step, *seen, truth)
        parent.children.append(self.current)
        self.moments.append(self.current)
        yield self.current

    def _with_all_futures(self) -> Turns:
        """Show the current moment, after imagining the futures it lacks."""
        moment = self.current
        if len(moment.frames) < self.futures and moment.parent is not None:
            yield from self._restore(moment)
        elif len(moment.frames) < self.futures:
            moment.show(self._alike(moment.frames, moment.positions, moment.states))
        yield moment

    def _restore(self, moment: Moment) -> Turns:
        """Turns that bring back the model's state at this moment, for all futures."""
        missing: list[Moment] = []
        while moment.parent and self.states.futures_at(moment.number) < self.futures:
            missing.append(moment)
            moment = moment.parent
        for lacking in reversed(missing):
            assert lacking.parent is not None
            assert lacking.step is not None
            seen = self._imagine(lacking.parent, lacking.step, lacking.number)
            if len(lacking.frames) < self.futures:
                lacking.show(seen)
            yield None

    @torch.inference_mode()
    def _imagine(self, parent: Moment, step: Step, number: int) -> Seen:
        """One step of the model from a moment whose state is here; keeps the state after it."""
        if parent.parent is None and self.states.futures_at(0) < self.futures:
            self.states.keep(0, self.context_state.repeat(self.futures))
        state = self.states.get(parent.number, self.futures)
        actions = torch.from_numpy(step.action).to(self.device).expand(self.futures, -1)
        noise = None
        if step.seed is not None:
            shape = (1, 1, self.model.latent_dim)
            seeds = range(step.seed, step.seed + self.futures)
            noise = torch.cat([latent_noise(shape, seed, parent.depth)[0] for seed in seeds])
            noise = noise.to(self.device)
        frames, state = self.model.imagine(state, actions, noise)
        self.states.keep(number, state)
        images = pictures.to_uint8(frames.float().cpu().numpy())
        states = self._states(state)
        return Seen(images, self._positions(parent, step.action, states), states)

    def _states(self, state: RolloutState) -> NDArray[np.float32] | None:
        """The robot's state in every future, (N, S), where the model knows it."""
        spec, known = self.model.spec.state, state.robot_state
        if known is None or spec is None:
            return None
        std, mean = np.array(spec.std, np.float32), np.array(spec.mean, np.float32)
        states: NDArray[np.float32] = known.float().cpu().numpy() * std + mean
        return states

    def _positions(
        self, parent: Moment, action: Action, states: NDArray[np.float32] | None
    ) -> list[Floats]:
        """Where the end effector is in every future, by the model's own state or by reckoning."""
        if self.drag is None:
            return []
        if states is None:
            last = len(parent.positions) - 1
            before = [parent.positions[min(index, last)] for index in range(self.futures)]
            return [self.drag.after(position, action) for position in before]
        return [self.drag.locate(parent.frames, row) for row in states]

    @torch.inference_mode()
    def _observe(self, beginning: Beginning) -> RolloutState:
        frames = torch.from_numpy(beginning.frames).permute(0, 3, 1, 2)[:, None].to(self.device)
        actions = torch.from_numpy(beginning.actions)[:, None].to(self.device)
        states = None
        if self.model.uses_states and beginning.states is not None:
            states = torch.from_numpy(beginning.states)[:, None].to(self.device)
        state: RolloutState = self.model.observe(frames.float() / 255, actions, states)
        return state

    def _root(self, beginning: Beginning) -> Moment:
        """The last context frame, which every future shares."""
        state = None if beginning.states is None else beginning.states[-1]
        positions: list[Floats] = []
        if self.drag is not None:
            positions = [self.drag.locate(beginning.frames, state)]
        states = None if state is None else state[None]
        seen = self._alike(in_colour(beginning.frames[-1:]), positions, states)
        return Moment(0, None, None, *seen, beginning.moment)

    def _alike(
        self,
        frames: NDArray[np.uint8],
        positions: list[Floats],
        states: NDArray[np.float32] | None,
    ) -> Seen:
        """The first of these futures, as often as futures are wanted."""
        count = self.futures
        states = None if states is None else np.repeat(states[:1], count, axis=0)
        return Seen(np.repeat(frames[:1], count, axis=0), positions[:1] * count, states)

    def _require_room(self) -> None:
        kept = sum(moment.frames.nbytes for moment in self.moments)
        if kept + self.futures * self.moments[0].frames[0].nbytes > FRAME_BUDGET:
            raise UserError(
                f"This session is full: it keeps {len(self.moments)} moments. "
                "Save what you like, then choose a start again."
            )
