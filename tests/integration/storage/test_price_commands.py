"""``aurea prices`` and ``aurea reprice`` at the terminal."""

from __future__ import annotations

import functools
import http.server
import json
import threading
import time
import types
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from aurea_celery.cli import aurea
from aurea_celery.price_lists import pricing_of
from aurea_celery.pricing.catalogue import Catalogue
from aurea_celery.storage.prices import LOOK_SECONDS, PriceLists, set_prices
from aurea_celery.storage.schema import price_books
from aurea_celery.storage.write import Writer
from tests.support.databases import connected, scalar
from tests.support.prices import own_price
from tests.support.recorded import execution, model_call, source, write

pytestmark = pytest.mark.clock("a-day")

Run = Callable[..., str]


@pytest.fixture
def run(database_url: str) -> Run:
    """Runs a command; what it says. Its status is 0 unless another is expected."""

    def invoke(*command: str, status: int = 0) -> str:
        ended = CliRunner(env={"DATABASE_URL": database_url}).invoke(aurea, command)
        assert ended.exit_code == status, ended.output
        return ended.output.strip()

    return invoke


def test_a_price_is_set_listed_checked_and_removed(run: Run) -> None:
    assert run("prices", "list").startswith("No prices of your own")
    assert "\naurea: house: no price is known for this model" in run("prices", "check", "house", status=1)
    assert run("prices", "set", "house", "--input", "2.50", "--output", "10") == "Set: house: input $2.5, output $10"
    run("prices", "set", "house", "--input", "3", "--output", "10", "--from", "2026-07-01")
    run("prices", "set", "azure/prod", "--same-as", "house", "--note", "our deployment")

    assert run("prices", "list").splitlines()[:-1] == [
        "azure/prod: the same as house (our deployment)",
        "house: input $2.5, output $10",
        "house from 2026-07-01 00:00 UTC: input $3, output $10",
    ]
    checked = run("prices", "check", "azure/prod", "--at", "2026-06-30")
    assert checked.startswith("own: own house 1970-01-01 ")
    assert '"input":"2.5' in checked
    assert '"input":"3' in run("prices", "check", "azure/prod", "--at", "2026-07-01T00:00:00Z")
    assert run("prices", "remove", "house") == "Removed 2 of your own prices of house."
    assert run("prices", "remove", "house", status=1) == "aurea: there is no price of your own for house"


def test_a_model_has_one_price_however_its_name_is_written(run: Run) -> None:
    run("prices", "set", "House", "--input", "1", "--output", "1")
    run("prices", "set", "house", "--input", "2", "--output", "2")

    assert run("prices", "list").splitlines()[:-1] == ["house: input $2, output $2"]
    assert run("prices", "remove", "HOUSE") == "Removed 1 of your own prices of HOUSE."


def test_list_prices_are_checked_with_their_tier(run: Run) -> None:
    assert run("prices", "check", "gpt-4", "--provider", "openai").count("\n") == 4, "exact, and blended for totals"
    assert '"input":"0.625"' in run("prices", "check", "gpt-5", "--provider", "openai", "--service-tier", "flex")


def test_a_model_that_only_its_sellers_know_is_asked_of_them(run: Run) -> None:
    said = run("prices", "check", "text-embedding-3-small", status=1)

    assert "its price depends on who sells it; say it with --provider: azure, openai" in said
    assert '"input":"0.02"' in run("prices", "check", "text-embedding-3-small", "--provider", "openai")
    assert "service tier odd" in run("prices", "check", "gpt-5", "--service-tier", "odd", status=1)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("house",), "house: say either rates or the model it costs the same as, and not both"),
        (("house", "--input", "1", "--same-as", "gpt-4"), "house: say either rates or"),
        (("house-*", "--input", "1"), "house-*: a * means anything only with --wildcard"),
        (("house", "--input", "1", "--wildcard"), "house: a * means anything only with --wildcard"),
        (("house", "--input", "-1"), "'-1' is not a number from 0 to 10**15"),
        (("house", "--input", "NaN"), "'NaN' is not a number from 0 to 10**15"),
        (("house", "--input", "1", "--from", "tomorrow"), "'tomorrow' is neither a day"),
        (("house", "--input", "1e200000"), "is not a number from 0 to 10**15"),
        (("house", "--input", "1e-20000"), "is not a number from 0 to 10**15"),
        (("", "--input", "1"), "aurea: the name of a model has 1 to 255 characters"),
        (("h" * 256, "--input", "1"), "aurea: the name of a model has 1 to 255 characters"),
        (("house", "--input", "1", "--note", "\udc80"), "house: a text must be valid UTF-8 without NUL"),
        (("house", "--same-as", ""), "house: say either rates or"),
        (("house", "--free", "--input", "5"), "house: say either --free or rates, and not both"),
        (("house", "--cache-read", "1"), "house: the price for cache_read is for a part of the input; say both"),
        (
            ("house", "--total", "1", "--output-audio", "1"),
            "house: the price for output_audio is for a part of the out",
        ),
    ],
)
def test_what_is_no_price_is_refused(run: Run, command: tuple[str, ...], sentence: str) -> None:
    assert sentence in run("prices", "set", *command, status=2)
    assert run("prices", "list").startswith("No prices of your own")


CSV = "model,input,output,from,wildcard\nhouse,2.5,10,,\nhouse,3,10,2026-07-01,\nollama/*,0,0,,yes\n"
JSON = (
    '[{"model": "house", "input": 2.50, "output": 10}, {"model": "house", "input": 3, "output": 10, "from":'
    ' "2026-07-01"}, {"model": "ollama/*", "input": 0, "output": 0, "wildcard": true}]'
)


@pytest.mark.parametrize(("name", "text"), [("prices.csv", CSV), ("prices.json", JSON)])
def test_a_file_of_prices(run: Run, tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)

    assert run("prices", "import", str(file)) == "Set 3 prices of your own."
    assert run("prices", "list").splitlines()[:-1] == [
        "house: input $2.5, output $10",
        "house from 2026-07-01 00:00 UTC: input $3, output $10",
        "ollama/*: input $0, output $0",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model,input\nhouse,1\nother,minus one\n", "price 2: 'minus one' is not a number from 0 to 10**15"),
        ("model,inputs\nhouse,1\n", "price 1: there is no field inputs"),
        ("input\n1\n", "price 1: the model is missing"),
        (
            "model,input\nhouse,1,2\n",
            "price 1: there is no field (beyond the last name); there are model, provider, from",
        ),
        ("model,input\nhouse,1\nHOUSE,2\n", "house: there are 2 prices from the same time on; leave one"),
        ("model,input\n", "prices holds no price"),
        ("", "prices holds no price"),
        ("[1]", "must hold a list of objects"),
        ('{"model": "house", "input": 1}', "must hold a list of objects"),
        ('[{"model": true, "input": 1}]', "price 1: model must be a text or a number"),
        ('[{"model": "house", "input": true}]', "price 1: input must be a text or a number"),
        ('[{"model": "house", "input": [1]}]', "price 1: input must be a text or a number"),
        ('[{"model": "house", "input": 1, "provider": {"a": 1}}]', "price 1: provider must be a text or a number"),
        ('[{"model": "hou\\u0000se", "input": 1}]', "hou\\x00se: a text must be valid UTF-8 without NUL"),
        ("model,input\nhous\udce9,1\n", "prices is not UTF-8"),
        ("[{", "is not JSON"),
    ],
)
def test_of_a_file_with_a_mistake_nothing_is_taken(run: Run, tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "prices"
    file.write_text(text, errors="surrogateescape")

    assert sentence in run("prices", "import", str(file), status=2)
    assert run("prices", "list").startswith("No prices of your own")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Repricing does not wait, but says for how long it would."""
    waited: list[float] = []
    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=waited.append)
    monkeypatch.setattr("aurea_celery.storage.reprice.time", clock)
    return waited


@pytest.mark.usefixtures("waits")
def test_repricing_says_what_it_would_do_and_does_it(run: Run, database_url: str) -> None:
    write(database_url, execution("a", "translate", model_call("house", 1_000_000)), execution("b"))
    run("prices", "set", "house", "--total", "2")

    would = run("reprice", "--dry-run")
    assert would == "1 of 2 rows would change: from $0 to $2 (+$2); 1 had no price before"
    assert scalar(database_url, "SELECT sum(unpriced_tokens) FROM metrics_job") == 1_000_000
    assert run("reprice", "--job", "b").endswith("\n0 of 1 rows changed: from $0 to $0 (+$0)")
    assert run("reprice").endswith(would.replace("would change", "changed"))
    assert scalar(database_url, "SELECT sum(unpriced_tokens) FROM metrics_job") == 0
    assert run("reprice").endswith("\n0 of 2 rows changed: from $0 to $0 (+$0)")
    assert run("reprice", "--job", "c").endswith("\nNo calls of models are selected, so that nothing changes.")


@pytest.mark.usefixtures("waits")
def test_repricing_says_what_lost_its_price(run: Run, database_url: str) -> None:
    run("prices", "set", "house", "--total", "2")
    write(database_url, execution("a", "translate", model_call("house", 1_000_000)))
    run("prices", "remove", "house")

    assert run("reprice").endswith(
        "\n1 of 1 rows changed: from $2 to $0 (-$2); 1 had a price before and have none now;"
        " 100 % of the tokens (1,000,000) have no price"
    )


def test_what_writers_write_before_they_know_of_a_price_has_it_after_repricing(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(database_url, pricing_of)
    write_one = functools.partial(writer.write_events, source(1))
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if seconds:
            write_one([execution("a", "translate", model_call("house", 1_000_000))])

    monkeypatch.setattr(
        "aurea_celery.storage.reprice.time", types.SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    )
    write_one([execution("a", "translate", model_call("house", 1_000_000))])
    run("prices", "set", "house", "--total", "2")

    assert "2 of 2 rows changed: from $0 to $4 (+$4)" in run("reprice")
    assert waited[0] > LOOK_SECONDS
    assert run("reprice", "--dry-run").startswith("0 of 2 rows")
    writer.close()


def test_writers_notice_a_price_whose_command_took_longer_than_another(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aurea_celery.storage.prices.LOOK_SECONDS", 0)

    def set_quickly() -> None:
        with connected(database_url) as connection:
            set_prices(connection, [own_price("quick", total="2")])

    with connected(database_url) as connection:
        set_prices(connection, [own_price("long", total="1"), own_price("quick", total="1")])
    quick = threading.Thread(target=set_quickly)
    lists = PriceLists()
    with connected(database_url) as connection:
        set_prices(connection, [own_price("long", total="2")])
        quick.start()
        quick.join(timeout=0.5)  # it may have to wait
        assert rates_seen(database_url, lists) is not None, "the first look"
    quick.join()

    assert rates_seen(database_url, lists) == {"long": 2, "quick": 2}


def rates_seen(url: str, lists: PriceLists) -> dict[str, int] | None:
    """What a look at the tables finds, if they have changed."""
    with connected(url) as connection:
        found = lists.changed(connection)
    return None if found is None else {row["model"]: int(row["total_usd_per_million"]) for row in found.own}


@pytest.fixture
def price_list_server() -> Iterator[str]:
    """Serves a price list with one model more than the package's, as its publisher would."""
    house = {
        "id": "house-ai",
        "name": "House",
        "api_pattern": "house",
        "model_match": {"starts_with": "fresh-"},
        "models": [
            {"id": "fresh-1", "match": {"equals": "fresh-1"}, "prices": {"input_mtok": 4, "output_mtok": 8}},
            {
                "id": "fresh-2",
                "match": {"equals": "fresh-2"},
                "prices": [
                    {"prices": {"input_mtok": 4, "output_mtok": 8}},
                    {"constraint": {"start_date": "2999-01-01"}, "prices": {"input_mtok": 2, "output_mtok": 4}},
                ],
            },
        ],
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = {"/data.json": json.dumps([house]), "/empty.json": "[]"}.get(self.path, "<html>")
            self.send_response(200 if self.path != "/gone" else 404)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_fetched_list_is_used_by_every_writer(run: Run, database_url: str, price_list_server: str) -> None:
    said = run("prices", "refresh", "--url", f"{price_list_server}/data.json")
    assert said.startswith("Writers use genai-prices fetched 20")
    assert "genai-prices fetched" in run("prices", "list")
    assert '"input":"4"' in run("prices", "check", "fresh-1")
    assert run("prices", "check", "gpt-5", status=1), "the fetched list takes the place of the package's"

    with connected(database_url) as connection:
        connection.execute(sa.text("UPDATE price_books SET fetched_at = '2020-01-01'"))
    assert '"input"' in run("prices", "check", "gpt-5"), "until a newer package is installed"
    assert "fetched" not in run("prices", "list")

    with connected(database_url) as connection:
        assert connection.scalar(sa.text("SELECT announced FROM price_books")) == [date(2999, 1, 1)]
        known = sorted(Catalogue().changes)
        connection.execute(sa.update(price_books).values(announced=known))
    assert "fetched" in run("prices", "list"), "a change that it announced does not make a list old"
    assert run("prices", "check", "gpt-5", status=1)


@pytest.mark.parametrize("path", ["/gone", "/page.html", "/empty.json"])
def test_what_is_no_list_changes_nothing(run: Run, price_list_server: str, path: str) -> None:
    said = run("prices", "refresh", "--url", price_list_server + path, status=1)

    assert said.startswith(f"aurea: the list prices could not be fetched from {price_list_server}{path} (")
    assert '"input"' in run("prices", "check", "gpt-5", "--provider", "openai")
