"""A run card made again on this machine, and held against what comes of it."""

from favonius.pipeline.replay.compare import Comparison, compare
from favonius.pipeline.replay.make import Wanted, prepared, replay
from favonius.pipeline.replay.needs import Needs

__all__ = ["Comparison", "Needs", "Wanted", "compare", "prepared", "replay"]
