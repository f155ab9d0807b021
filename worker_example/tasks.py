"""The tasks: each asks a language model once, tells aurea-celery what that used, and enters it in the ledger.

An *ask* is a dictionary, so that it travels as JSON: ``input_tokens`` and ``output_tokens`` for the simulated model;
``overloads``, how many attempts find the model overloaded before one gets through; ``refused``, whether the answer
turns out to be useless - after its tokens are spent.
"""

from __future__ import annotations

from typing import Any

from celery import Task

from aurea_celery import record_usage
from worker_example import ledger
from worker_example.app import app
from worker_example.provider import choose_model

RETRY_SECONDS = 0.5
RETRIES = 3


class ModelOverloaded(Exception):
    """The model has no capacity now; trying again helps."""


class AnswerRefused(Exception):
    """The answer cannot be used; trying again does not help."""


class AskingTask(Task):  # type: ignore[type-arg]  # Celery's class is not generic at run time
    """A task that tries again when the model is overloaded."""

    abstract = True
    autoretry_for = (ModelOverloaded,)
    max_retries = RETRIES
    default_retry_delay = RETRY_SECONDS  # type: ignore[assignment]  # Celery takes fractions of a second


@app.task(name="summarise", base=AskingTask, bind=True)
def summarise(self: Task[Any, Any], text: str | list[str], ask: dict[str, Any]) -> str:
    """Summarise a text, or the texts that came before in a chord."""
    return _ask(self, "Summarise the text in two sentences.", text, ask)


@app.task(name="extract", base=AskingTask, bind=True)
def extract(self: Task[Any, Any], text: str, ask: dict[str, Any]) -> str:
    """Extract the facts from a text."""
    return _ask(self, "List the names, dates and amounts in the text.", text, ask)


@app.task(name="classify", base=AskingTask, bind=True)
def classify(self: Task[Any, Any], text: str, ask: dict[str, Any]) -> str:
    """Say what kind of message a text is."""
    return _ask(self, "Answer with one word: question, complaint, order or other.", text, ask)


@app.task(name="embed", base=AskingTask, bind=True)
def embed(self: Task[Any, Any], text: str, ask: dict[str, Any]) -> str:
    """Turn a text into a vector."""
    return _ask(self, "", text, ask)


@app.task(name="replay", base=AskingTask, bind=True, ignore_result=True)
def replay(self: Task[Any, Any], text: str, ask: dict[str, Any]) -> str:
    """Replay one row of a trace."""
    return _ask(self, "", text, ask)


def _ask(task: Task[Any, Any], instruction: str, text: str | list[str], ask: dict[str, Any]) -> str:
    """Ask the model, record what it used, and give back its text."""
    with ledger.execution(task.request.id or "") as spent:
        if task.request.retries < ask.get("overloads", 0):
            raise ModelOverloaded
        answer = choose_model().answer(
            task.name,
            instruction,
            text if isinstance(text, str) else "\n".join(text),
            input_tokens=ask["input_tokens"],
            output_tokens=ask["output_tokens"],
        )
        record_usage(answer.response, cost_usd=answer.cost_usd)
        spent.input_tokens, spent.output_tokens = answer.input_tokens, answer.output_tokens
        if ask.get("refused"):
            raise AnswerRefused
    return answer.text
