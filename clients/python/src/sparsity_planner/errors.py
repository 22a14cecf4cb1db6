"""What can go wrong, as exceptions."""

from __future__ import annotations

import json
from typing import Any

import httpx

from .models import FieldError, Missing, Problem, Refit, SettlingRun


class PlannerError(Exception):
    """The base of all errors of this package: whatever goes wrong in it is one of these."""


class InvalidInputError(PlannerError, ValueError):
    """What was given cannot be asked or sent: two columns of one name, a frame without rows, a size of 0."""


class InputTypeError(PlannerError, TypeError):
    """What was given is of a kind that cannot be sent, or no table."""


class MissingPackageError(PlannerError, ImportError):
    """A package that is not installed is needed for what was asked; the message names it."""


class UnexpectedAnswerError(PlannerError):
    """An answer is not what this version of the client knows; its cause says what differs."""


class UnreachableError(PlannerError):
    """No answer came: nobody is there, or not after all retries; its cause is the error of `httpx`."""


class ProblemError(PlannerError):
    """
    The service refused: an RFC 9457 problem.

    `kind` is stable and for programs (docs/problems.md lists them), `detail` is for people, `errors`
    points at each wrong field. Where it is `not-identified`, `missing` says what the runs behind the law
    have too few of, and `suggestions` are the cheapest runs that settle it.
    """

    def __init__(
        self,
        kind: str,
        status: int,
        detail: str,
        errors: tuple[FieldError, ...] = (),
        missing: tuple[Missing, ...] = (),
        suggestions: tuple[SettlingRun, ...] = (),
    ) -> None:
        """Make one by its parts."""
        super().__init__(kind, status, detail, errors, missing, suggestions)
        self.kind = kind
        self.status = status
        self.detail = detail
        self.errors = errors
        self.missing = missing
        self.suggestions = suggestions

    def __str__(self) -> str:
        """Kind, status, detail, and each wrong field on a line of its own."""
        lines = [f"{self.kind} ({self.status}): {self.detail}"]
        lines += [f"  {error.pointer}: {error.detail}" for error in self.errors]
        return "\n".join(lines)

    @classmethod
    def from_problem(cls, problem: Problem) -> ProblemError:
        """Take over what the service says."""
        kind = problem.type.rsplit("/", 1)[-1]
        return cls(
            kind,
            problem.status,
            problem.detail,
            tuple(problem.errors or ()),
            tuple(problem.missing or ()),
            tuple(problem.suggestions or ()),
        )

    @classmethod
    def from_response(cls, response: httpx.Response) -> ProblemError:
        """Take over what the service says, or a proxy before it, whose errors are of kind `http`."""
        try:
            document: Any = json.loads(response.content)
            return cls.from_problem(Problem.model_validate(document))
        except ValueError:
            detail = response.text[:500].strip() or response.reason_phrase
            return cls("http", response.status_code, detail)


class RefitFailedError(PlannerError):
    """A refit that was waited for failed or was cancelled; `refit` is how it ended."""

    def __init__(self, refit: Refit) -> None:
        """Make one of a refit."""
        super().__init__(refit)
        self.refit = refit

    def __str__(self) -> str:
        """Why it failed."""
        reason = f": {self.refit.error.detail}" if self.refit.error else ""
        return f"refit {self.refit.id} {self.refit.state}{reason}"
