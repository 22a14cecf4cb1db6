"""Client of the sparsity planner: log training runs, ask for predicted loss and optimal sparsity."""

from . import hardware, models
from ._asked import Reading, RefitOptions, RunFilters
from ._async import AsyncFamily, AsyncPicture, AsyncPlanner
from ._sync import Family, Picture, Planner
from .errors import (
    InputTypeError,
    InvalidInputError,
    MissingPackageError,
    PlannerError,
    ProblemError,
    RefitFailedError,
    UnexpectedAnswerError,
    UnreachableError,
)

__all__ = [
    "AsyncFamily",
    "AsyncPicture",
    "AsyncPlanner",
    "Family",
    "InputTypeError",
    "InvalidInputError",
    "MissingPackageError",
    "Picture",
    "Planner",
    "PlannerError",
    "ProblemError",
    "Reading",
    "RefitFailedError",
    "RefitOptions",
    "RunFilters",
    "UnexpectedAnswerError",
    "UnreachableError",
    "hardware",
    "models",
]
