"""Client of the sparsity planner: log training runs, ask for predicted loss and optimal sparsity."""

from . import models
from ._asked import Reading, RefitOptions, RunFilters
from ._async import AsyncFamily, AsyncPlanner
from ._sync import Family, Planner
from .errors import PlannerError, ProblemError, RefitFailedError, UnreachableError

__all__ = [
    "AsyncFamily",
    "AsyncPlanner",
    "Family",
    "Planner",
    "PlannerError",
    "ProblemError",
    "Reading",
    "RefitFailedError",
    "RefitOptions",
    "RunFilters",
    "UnreachableError",
    "models",
]
