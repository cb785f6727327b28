"""framecast: imagine the futures of a robot's actions, as video."""

__version__ = "0.1.0"
