"""How many processes train together, and which of them this one is.

Lightning starts the processes of one node (`--devices N`), or torchrun or a cluster has started
them already. Every process then runs the same command; only the first writes files and prints.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from framecast.errors import UserError

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def is_first_process() -> bool:
    """Whether this process writes the run's files; known before any of them have met."""
    return all(os.environ.get(name, "0") in ("", "0") for name in RANK_VARIABLES)


@dataclass(frozen=True)
class Devices:
    """
    Args:
        per_node: devices (on a CPU: processes) of each machine
        num_nodes: machines
    """

    per_node: int = 1
    num_nodes: int = 1

    @classmethod
    def asked_for(cls, per_node: int, num_nodes: int) -> Devices:
        """What was asked for, or what torchrun has started."""
        for name, value in (("--devices", per_node), ("--num-nodes", num_nodes)):
            if value < 1:
                raise UserError(f"{name} should be at least 1, got {value}.")
        if "TORCHELASTIC_RUN_ID" in os.environ:
            here = int(os.environ["LOCAL_WORLD_SIZE"])
            return cls(here, int(os.environ["WORLD_SIZE"]) // here)
        return cls(per_node, num_nodes)

    @property
    def total(self) -> int:
        return self.per_node * self.num_nodes

    def require_shares(self, batch_size: int, parts: int) -> None:
        """Every process gets as many clips of a batch as any other."""
        if batch_size % (self.total * parts):
            raise UserError(
                f"A batch of {batch_size} clips cannot be shared equally by {self.total} devices "
                f"in {parts} parts. Set clips.batch_size to a multiple of {self.total * parts}."
            )

    def trainer_arguments(self) -> dict[str, Any]:
        strategy = "auto" if self.total == 1 else "ddp"
        return {"devices": self.per_node, "num_nodes": self.num_nodes, "strategy": strategy}
