"""A decorated function keeps its signature for mypy: right uses pass, each wrong one is found on its line."""

from __future__ import annotations

import re
from pathlib import Path

from mypy import api

ROOT = Path(__file__).parents[2]
RIGHT = ROOT / "tests" / "typing" / "public_names.py"
HEAD = """\
from aurea_celery import carry_context, job, monitor_task, record_usage

@monitor_task('job')
def work(text: str, *, times: int = 1) -> int:
    return len(text) * times

"""
WRONG = {
    "work(1)": 'Argument 1 to "work" has incompatible type "int"; expected "str"',
    "work('a', 2)": 'Too many positional arguments for "work"',
    "work('a').upper()": '"int" has no attribute "upper"',
    "carry_context(work)(1)": 'incompatible type "int"; expected "str"',
    "monitor_task(model='gpt-4')": 'Unexpected keyword argument "model" for overloaded function "monitor_task"',
    "monitor_task(estimate_cost_fn=lambda tokens: 1)": '"estimate_cost_fn" to "monitor_task" has incompatible type',
    "record_usage(input_tokens='many')": 'incompatible type "str"; expected "int | None"',
    "job(1)": 'Argument 1 to "job" has incompatible type "int"; expected "str"',
}


def test_right_uses_pass_and_wrong_ones_are_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(HEAD + "\n".join(WRONG) + "\n")

    said, problems, _ = api.run(
        ["--config-file", str(ROOT / "setup.cfg"), f"--cache-dir={tmp_path / 'cache'}", str(RIGHT), str(wrong)]
    )

    assert not problems
    found = {int(line): text for line, text in re.findall(r"wrong\.py:(\d+): error: (.*)", said)}
    first = HEAD.count("\n") + 1
    for line, (use, sentence) in enumerate(WRONG.items(), start=first):
        assert sentence in found.pop(line), use
    assert not found
    assert "public_names.py" not in said, said
