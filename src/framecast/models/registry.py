"""The kinds of models. A new one is a config in config.py, a VideoModel, and one line here.

Models are imported when one is built, so that reading a recipe imports no torch.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framecast.models.config import (
    CourseConfig,
    ModelConfig,
    SpatialConfig,
    SvgConfig,
    WarpConfig,
)

if TYPE_CHECKING:
    from framecast.clip import ClipSpec
    from framecast.models.base import VideoModel


@dataclass(frozen=True)
class Kind:
    """A config and the model built from it, as module:class."""

    config: type[ModelConfig]
    model: str


KINDS = {
    "course": Kind(CourseConfig, "framecast.models.course:CourseModel"),
    "svg": Kind(SvgConfig, "framecast.models.course:CourseModel"),
    "spatial": Kind(SpatialConfig, "framecast.models.course:CourseModel"),
    "warp": Kind(WarpConfig, "framecast.models.warp:WarpModel"),
}


def build(config: ModelConfig, spec: ClipSpec, num_context: int) -> VideoModel[Any]:
    """A new model. Raises UserError for clips it cannot be built for."""
    module, _, name = KINDS[config.kind].model.partition(":")
    model: VideoModel[Any] = getattr(importlib.import_module(module), name)(
        config, spec, num_context
    )
    return model
