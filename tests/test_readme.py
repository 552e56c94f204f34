"""The README says what is so: its code runs, its commands are those that CI runs."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.genai.errors import ClientError
from mistralai.client.errors import SDKError
from prometheus_client import REGISTRY
from starlette.testclient import TestClient
from typer.testing import CliRunner

from bertguard import Guard
from bertguard.server.app import create_app
from loopback import FakeLLM, serve
from support import ATTACK, BENIGN

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def block(word: str) -> dict[str, Any]:
    """Run the README's Python block that holds `word`; its names."""
    (code,) = [code for code in BLOCKS if word in code]
    names: dict[str, Any] = {}
    exec(compile(code, f"README.md: {word}", "exec"), names)  # noqa: S102  # our own README
    return names


def test_the_two_commands_stand_there_word_for_word() -> None:
    """Set-up is two commands; CI runs the second as it stands."""
    tests = 'pip install -e ".[test]" -c tests/constraints.txt && pytest'
    assert "\npip install . && guard serve\n" in README
    assert f"\n{tests}\n" in README
    assert tests in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


async def test_the_fastapi_example_refuses_an_injection() -> None:
    """The mounted middleware answers a question and refuses an override, with the bundled model."""
    app = block("async def chat")["app"]
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for text, status in ((BENIGN, 200), (ATTACK, 400)):
            body = {"model": "m", "messages": [{"role": "user", "content": text}]}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == status
    assert answer.json()["error"]["code"] == "content_filter"


async def test_the_openai_example_gets_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own BadRequestError carries the code; a question is answered."""
    with serve(create_app(Guard.load())) as url:
        monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        names = block("AsyncOpenAI")
        async with names["client"]:
            assert "capital of France" in await names["ask"](BENIGN)
            assert await names["ask"](ATTACK) == "refused: content_filter"


async def test_the_sdks_with_two_faces_are_guarded_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack is refused before anything is sent, by whichever face it comes."""
    monkeypatch.setenv("GOOGLE_API_KEY", "none-needed")
    monkeypatch.setenv("MISTRAL_API_KEY", "none-needed")
    llm = FakeLLM()
    with serve(llm.app) as url:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", url)
        names = block("httpx_async_client=")
        gemini, mistral = names["gemini"], names["mistral"]
        asked = {"model": "m", "contents": ATTACK}
        said = {"model": "m", "messages": [{"role": "user", "content": ATTACK}], "server_url": url}
        for refused, call in (
            (ClientError, lambda: asyncio.to_thread(gemini.models.generate_content, **asked)),
            (ClientError, lambda: gemini.aio.models.generate_content(**asked)),
            (SDKError, lambda: asyncio.to_thread(mistral.chat.complete, **said)),
            (SDKError, lambda: mistral.chat.complete_async(**said)),
        ):
            with pytest.raises(refused, match="prompt injection"):
                await call()
    assert llm.received == []


async def test_the_example_of_mounts_exempts_one_host() -> None:
    """An attack reaches that host and no other."""
    llm = FakeLLM()
    body = {"messages": [{"role": "user", "content": ATTACK}]}
    with serve(llm.app) as url:
        async with block("all://localhost")["http_client"] as client:
            for host, status in (("127.0.0.1", 400), ("localhost", 200)):
                address = url.replace("127.0.0.1", host)
                answer = await client.post(f"{address}/v1/chat/completions", json=body)
                assert answer.status_code == status
    assert len(llm.received) == 1


def test_the_policy_example_loads() -> None:
    """Options that the README shows are options that there are."""
    names = block("on_unscanned=")
    with names["guard"] as guard:
        assert not guard.check_sync(ATTACK).blocked  # shadow


async def test_the_example_of_routes_gives_each_its_own_policy() -> None:
    """In shadow mode an attack comes through to the application, elsewhere it does not."""
    transport = httpx.ASGITransport(app=block("/beta/*")["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for path, status in (("/beta/x", 404), ("/elsewhere", 400)):
            answer = await client.post(path, json={"prompt": ATTACK})
            assert answer.status_code == status


def test_the_example_of_an_own_answer_refuses_in_its_own_words() -> None:
    """The guard is loaded at start-up; a handler sees the verdict, strangers see no score."""
    with TestClient(block("def judged")["app"]) as client:
        refused, answered, elsewhere = (
            client.post(path, json={"text": text})
            for path, text in (("/chat", ATTACK), ("/chat", BENIGN), ("/other", ATTACK))
        )
    assert (refused.status_code, refused.json()) == (422, {"detail": "I cannot answer that."})
    assert (answered.status_code, answered.json()) == (200, {"careful": False})
    assert elsewhere.json()["error"]["code"] == "content_filter"
    assert not [name for name in refused.headers if name.startswith("x-guard-")]


def test_every_command_of_the_readme_has_a_help() -> None:
    """The table of commands names commands that exist."""
    from bertguard.cli import COMMANDS, app

    commands = set(re.findall(r"^\| `guard (\w+)", README, re.MULTILINE))
    assert commands == set(COMMANDS)
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_the_telemetry_example_watches_the_guard() -> None:
    """All three and an observer of one's own; the metrics are served."""
    names = block("start_http_server")
    with names["watched"] as guard:
        guard.check_sync(BENIGN)
    labels = {"action": "allow", "enforced": "true", "dialect": "text"}
    assert REGISTRY.get_sample_value("bertguard_verdicts_total", labels) == 1
