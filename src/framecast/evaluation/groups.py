"""What scoring a group of clips gave, and where it is kept until the evaluation is whole.

Shape letters: M metrics, S samples, P predicted frames, B clips, F features.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framecast.evaluation.calibration import Calibration


@dataclass(frozen=True)
class GroupScores:
    """
    Attributes:
        metrics: names of the metrics.
        rows: (M, S, P, B) scores of every row; S is 1 but for the model's.
        calibration: where there are at least two samples.
        features: (B, F) of a video network: the true videos' as `true`, the model's under the
            score's name.
        world: what was measured against the true futures of every clip.
    """

    metrics: tuple[str, ...]
    rows: dict[str, NDArray[np.float32]]
    calibration: Calibration | None
    features: dict[str, NDArray[np.float64]]
    world: tuple[dict[str, NDArray[np.float64]], ...] = ()

    def to_bytes(self) -> bytes:
        arrays: dict[str, Any] = {"metrics": np.array(self.metrics)}
        arrays |= {f"row.{name}": values for name, values in self.rows.items()}
        arrays |= {f"feature.{name}": values for name, values in self.features.items()}
        if self.calibration is not None:
            fields = dataclasses.fields(self.calibration)
            arrays |= {f"calibration.{f.name}": getattr(self.calibration, f.name) for f in fields}
        for index, clip in enumerate(self.world):
            arrays |= {f"world{index}.{name}": values for name, values in clip.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_file(cls, path: Path) -> GroupScores:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        kept = _under(arrays, "calibration.")
        worlds = len({name.split(".")[0] for name in arrays if name.startswith("world")})
        return cls(
            tuple(arrays["metrics"].tolist()),
            _under(arrays, "row."),
            Calibration(**kept) if kept else None,
            _under(arrays, "feature."),
            tuple(_under(arrays, f"world{index}.") for index in range(worlds)),
        )


def _under(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


class GroupStore:
    """A hidden folder beside the scores, named by all that decides them.

    Args:
        folder: the run's `evaluation` folder.
        decides: everything that decides the scores; groups of anything else are not found.
    """

    def __init__(self, folder: Path, name: str, decides: dict[str, Any]) -> None:
        text = json.dumps(decides, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder = folder / f".{name}-{digest}.unfinished"
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def num_kept(self) -> int:
        return len(list(self.folder.glob("*.npz")))

    def read(self, number: int) -> GroupScores | None:
        """None where the group was not scored yet, or its file is not whole."""
        path = self._path(number)
        if not path.exists():
            return None
        try:
            return GroupScores.from_file(path)
        except (
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            OSError,
            RuntimeError,
            zipfile.BadZipFile,
        ):
            return None

    def write(self, number: int, group: GroupScores) -> None:
        partial = self.folder / f".{number}.partial"
        partial.write_bytes(group.to_bytes())
        os.replace(partial, self._path(number))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npz"
