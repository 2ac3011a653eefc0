"""What the service answers, as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from unrender.serve.jobs import Job


class FileAnswer(BaseModel):
    """A file that is kept."""

    id: str
    name: str
    bytes: int


class JobAnswer(BaseModel):
    """A job, and how far it is."""

    id: str
    verb: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float = Field(ge=0, le=1)
    message: str = Field(description="What is done at the moment, why it failed, or what was guessed on the way.")
    results: list[FileAnswer] = []

    @staticmethod
    def of(job: Job) -> JobAnswer:
        """The job as it is now."""
        state = job.state  # before its results: when it is done, they are there
        results = [FileAnswer(id=file.id, name=file.name, bytes=file.bytes) for file in job.results]
        return JobAnswer(
            id=job.id, verb=job.work.verb, state=state, progress=job.progress, message=job.message, results=results
        )


class ModelAnswer(BaseModel):
    """A model that a job may name."""

    id: str
    task: str = Field(description="inverse, forward, text_to_image or multi_view.")
    maps: list[str]
    system: str
    licence: str
    commercial: Literal["yes", "no", "unclear"] = Field(description="Whether the licence allows commercial use.")
    here: bool = Field(description="Whether its weights are on this machine.")


class LightAnswer(BaseModel):
    """A light that ships."""

    name: str
    description: str


class HealthAnswer(BaseModel):
    """That the service is there."""

    status: Literal["ok"] = "ok"
    version: str
    running: int
    waiting: int
    most_waiting: int


class Mistake(BaseModel):
    """Why a request was refused, in one line."""

    detail: str
