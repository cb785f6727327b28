"""Trains what a sweep spec tries, with any number of workers at once; every step is resumable.

The sweep folder:

    study.journal     Optuna's storage: one file that all workers append to
    trial_0000/ ...   a run folder a trial
    table.csv         a row a trial
    importance.png

A worker holds a lock on the trial it trains. A lock that nobody holds on a trial that has not
ended means that its worker is gone: the next worker goes on with that run where it stopped.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from framecast.errors import UserError
from framecast.training import fit
from framecast.training.runs import Run
from framecast.training.sweep_spec import Range, SweepSpec

Finished = Callable[[int], None]
ENDED = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)


class Sweep:
    """A sweep folder. Raises UserError where it holds the trials of another spec."""

    def __init__(self, spec: SweepSpec, dataset: Path, folder: Path) -> None:
        self.spec, self.dataset, self.folder = spec, dataset, folder
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
        with self._locked("sweep"):
            self.study = optuna.create_study(
                storage=storage,
                study_name="sweep",
                direction="maximize",
                load_if_exists=True,
            )
            self._plan()

    def ended(self) -> list[FrozenTrial]:
        return self.study.get_trials(states=ENDED, deepcopy=False)

    def work(self, finished: Finished) -> None:
        """Train trials until none is left; other workers may do the same at the same time."""
        while (task := self._next()) is not None:
            number, chosen, lock = task
            try:
                self._train(number, chosen)
            finally:
                lock.close()
            finished(len(self.ended()))

    def _plan(self) -> None:
        wanted = [repr(self.spec.search), repr(self.spec.base), self.spec.trials]
        known = self.study.user_attrs.get("spec")
        if known is None:
            self.study.set_user_attr("spec", wanted)
            for chosen in self.spec.grid() if self.spec.is_grid else ():
                self.study.enqueue_trial(chosen)
        elif known != wanted:
            raise UserError(
                f"{self.folder} holds the trials of another sweep than {self.spec.where}. "
                "Choose another --out."
            )

    def _next(self) -> tuple[int, dict[str, Any], IO[str]] | None:
        """A trial that a dead worker left, or a new one; with the lock that makes it ours."""
        with self._locked("sweep"):
            for trial in self.study.get_trials(states=(TrialState.RUNNING,), deepcopy=False):
                lock = self._try_lock(trial.number)
                if lock is not None:
                    return trial.number, dict(trial.params), lock
            trials = self.study.get_trials(deepcopy=False)
            begun = [trial for trial in trials if trial.state != TrialState.WAITING]
            if len(begun) >= self.spec.trials:
                return None
            # The seed is the trial's own: two workers, or a resumed one, must not repeat draws.
            self.study.sampler = TPESampler(seed=len(begun), constant_liar=True)
            new = self.study.ask(self._distributions())
            lock = self._try_lock(new.number)
            assert lock is not None
            return new.number, dict(new.params), lock

    def _distributions(self) -> dict[str, Any]:
        return {
            name: (
                FloatDistribution(factor.low, factor.high, log=factor.log)
                if isinstance(factor, Range)
                else CategoricalDistribution(list(factor))
            )
            for name, factor in self.spec.search.items()
        }

    def _train(self, number: int, chosen: dict[str, Any]) -> None:
        recipe, folder = self.spec.recipe(chosen), self.trial_folder(number)
        begin = fit.resume if Run(folder).recipe_file.exists() else fit.start
        try:
            outcome = begin(recipe, self.dataset, folder, lambda *_: None)
        except UserError as error:
            (folder / "failure.txt").write_text(f"{error}\n")
            self.study.tell(number, state=TrialState.FAIL)
            return
        if outcome.reason == "was interrupted":
            raise KeyboardInterrupt
        self.study.tell(number, outcome.best_psnr)

    def trial_folder(self, number: int) -> Path:
        return self.folder / f"trial_{number:04d}"

    def _try_lock(self, number: int) -> IO[str] | None:
        file = (self.folder / f".trial_{number:04d}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self.folder / f".{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
