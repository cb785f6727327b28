"""Real recordings, and copies of them that a test may break."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bair(shared_data: Path) -> Path:
    return shared_data / "bair" / "bair_sample.npz"


@pytest.fixture(scope="session")
def g1(shared_data: Path) -> Path:
    return shared_data / "g1_pick_bottle"


@pytest.fixture
def two_g1_episodes(g1: Path, tmp_path: Path) -> Path:
    """A copy of the first two real episodes that a test may break."""
    copy = tmp_path / "g1"
    shutil.copytree(g1 / "meta", copy / "meta")
    lines = (g1 / "meta" / "episodes.jsonl").read_text().splitlines()[:2]
    (copy / "meta" / "episodes.jsonl").chmod(0o644)
    (copy / "meta" / "info.json").chmod(0o644)
    (copy / "meta" / "episodes.jsonl").write_text("\n".join(lines))
    for name in ("data", "videos"):
        for file in sorted((g1 / name).rglob("episode_00000[01].*")):
            target = copy / file.relative_to(g1)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return copy
