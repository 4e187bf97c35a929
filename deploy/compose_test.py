"""Command `make compose-test`: builds and starts `docker-compose.yml`, and tests what the README promises.

It runs under a project name and a port of its own, on the simulated upstream, and removes everything at the end.
Skips, loudly, where no Docker engine or no compose answers. Images that can neither be found nor pulled are replaced by
a local one of the same name, or Qdrant's by the engine process; it says so. Standard library only.
"""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from threading import Event

from deploy.compose_trial import BUSY, START_S, Broken, Compose, chat, healthy, labels, on_trial, rate, until

LEARN_S = 40.0
SCALE = ("--scale", "gateway=2", "--scale", "embedder=2", "--scale", "learner=2")

PRESETS = {
    "config.dev.yaml": {"EXPLORATION_RATE=0.3", "SIMILARITY_THRESHOLD=0.5", "LOG_LEVEL=debug"},
    "config.prod.yaml": {"EXPLORATION_RATE=0.05", "LATENCY_WEIGHT=0.3", "ENABLE_PERSISTENCE=True", "LOG_FORMAT=json"},
    "config.cost-optimized.yaml": {"COST_WEIGHT=-0.8", "FEEDBACK_WEIGHT=0.8", "EXPLORATION_RATE=0.15"},
}
"""Settings that each preset must set, besides its models."""


def main() -> int:
    """Run the trial; return the exit code, 0 when every check passed, or without a Docker engine."""
    return on_trial({"DATABASE_SSL_MODE": "require"}, keeps_its_promises)


def keeps_its_promises(compose: Compose) -> bool:
    """Run the checks in order. Raises Broken."""
    for promise in (
        builds,
        starts,
        answers,
        learns,
        scales,
        replaces,
        is_watched,
        remembers,
        takes_presets,
        stops_cleanly,
    ):
        began = time.monotonic()
        print(f"... {promise.__doc__}", flush=True)
        promise(compose)
        print(f"ok  {promise.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    print("compose: every check passed")
    return True


def builds(compose: Compose) -> None:
    """The images build; the first time this takes minutes."""
    compose("build", quiet=True)


def starts(compose: Compose) -> None:
    """The system becomes ready, and every part healthy."""
    compose("up", "-d", quiet=True)
    until(START_S, "ready", lambda: compose.call("GET", "/ready")[0] == 200)
    until(START_S, "all parts are healthy", lambda: healthy(compose))


def answers(compose: Compose) -> None:
    """A chat request is answered, and the headers name the model and the reason."""
    status, body, headers = chat(compose, "compose-first")
    if status != 200 or not body["choices"][0]["message"]["content"]:
        raise Broken(f"chat gave {status}: {body}")
    missing = {"x-request-id", "x-router-model", "x-router-propensity"} - {name.lower() for name in headers}
    if missing:
        raise Broken(f"the response lacks {missing}")
    log = compose("logs", "llm-proxy", quiet=True)
    if "compose-first" not in log or "/chat/completions" not in log:
        raise Broken("the request is not in the log of llm-proxy")


def learns(compose: Compose) -> None:
    """Feedback returns 202 and changes the learned state of the model."""
    before = labels(compose)
    status, body, _ = rate(compose, "compose-first", 0.25)
    if status != 202:
        raise Broken(f"feedback gave {status}: {body}")
    until(LEARN_S, "the rating is learned", lambda: round(labels(compose) - before, 3) == 1)
    story = compose.call("GET", "/requests/compose-first")[1]
    if story["feedback"]["score"] != 0.25 or not story["learned"]["feedback"]:
        raise Broken(f"the record lacks the rating: {story}")


def scales(compose: Compose) -> None:
    """Two of each service share the work, and every rating counts once."""
    compose("up", "-d", "--no-recreate", *SCALE, quiet=True)
    until(START_S, "two learners live", lambda: "2 alive" in str(compose.call("GET", "/health")[1]))
    before, names = labels(compose), [f"compose-{number}" for number in range(40)]
    time.sleep(6)  # until llm-proxy has resolved the names again
    for name in names:
        status, body, _ = chat(compose, name)
        if status != 200:
            raise Broken(f"chat gave {status}: {body}")
        if rate(compose, name, 0.5)[0] != 202:
            raise Broken("feedback was not accepted")
    until(LEARN_S, "all ratings are learned, once", lambda: round(labels(compose) - before, 3) == len(names))
    served = {line.partition("|")[0].strip() for line in compose("logs", "gateway", quiet=True).splitlines()
              if "/chat/completions" in line}  # fmt: skip
    if len(served) != 2:
        raise Broken(f"only {served} served requests")


def replaces(compose: Compose) -> None:
    """A rolling replacement of gateways under load, as on the operations page: no chat request fails."""
    seen: Counter[int] = Counter()
    done = Event()

    def ask() -> None:
        while not done.is_set():
            try:
                seen[chat(compose, f"compose-{uuid.uuid4()}")[0]] += 1
            except (OSError, HTTPException):
                seen[0] += 1

    with ThreadPoolExecutor(4) as clients:
        for _ in range(4):
            clients.submit(ask)
        try:
            old = compose("ps", "-q", "gateway", quiet=True).split()
            compose("up", "-d", "--no-deps", "--no-recreate", "--scale", "gateway=4", "gateway", quiet=True)
            until(
                START_S,
                "four gateways are healthy",
                lambda: compose("ps", "gateway", quiet=True).count("(healthy)") == 4,
            )
            time.sleep(6)  # until llm-proxy knows them
            subprocess.run(["docker", "stop", "-t", "60", *old], check=True, capture_output=True)
            subprocess.run(["docker", "rm", *old], check=True, capture_output=True)
            time.sleep(6)
        finally:
            done.set()
    failed = seen.total() - seen[200] - seen[BUSY]
    print(f"    {seen[200]} chat requests answered, {seen[BUSY]} refused by admission, {failed} failed")
    if failed:
        raise Broken(f"statuses seen: {dict(seen)}")


def is_watched(compose: Compose) -> None:
    """Prometheus finds every process, including scaled ones, and the rules have values."""
    if not compose.monitored:
        print("!!! not tested: no Prometheus image")
        return
    compose("up", "-d", "--no-deps", "prometheus", quiet=True)
    asking = ("exec", "-T", "prometheus", "promtool", "query", "instant", "http://127.0.0.1:9090")

    def found() -> bool:
        try:
            targets = compose(*asking, 'count by (job) (up{job!="prometheus"} == 1)', quiet=True)
            rules = compose(*asking, "llm_router:requests:rate5m", quiet=True)
        except Broken:
            return False
        return all(f'job="{name}"}} => 2 @' in targets for name in ("gateway", "embedder", "learner")) and bool(rules)

    until(START_S, "two targets of each service", found)


def remembers(compose: Compose) -> None:
    """Every request and rating is in PostgreSQL, written over TLS; an emptied Redis is restored from it."""
    known, stored = labels(compose), "SELECT count(*) FROM contributions WHERE kind = 'feedback'"
    until(LEARN_S, "the history has every rating", lambda: query(compose, stored) == f"{known:.0f}")
    encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
    if query(compose, f"{encrypted} WHERE application_name = 'llm-router'") != "t":
        raise Broken("a learner's connection to PostgreSQL is not encrypted")
    compose("stop", "gateway", "learner", quiet=True)
    compose("exec", "-T", "redis", "redis-cli", "flushall", quiet=True)
    print(compose("run", "--rm", "-T", "--no-deps", "learner", "python", "-m", "services.learner", "rebuild").strip())
    compose("start", "gateway", "learner", quiet=True)
    until(START_S, "as much is known as before", lambda: round(labels(compose) - known, 3) == 0)


def query(compose: Compose, sql: str) -> str:
    """Query PostgreSQL; return the value."""
    shell = 'PGPASSWORD=$POSTGRES_PASSWORD exec psql -h 127.0.0.1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -Atc "$0"'
    return compose("exec", "-T", "postgres", "sh", "-c", shell, sql, quiet=True).strip()


def takes_presets(compose: Compose) -> None:
    """The services use the preset of CONFIG_FILE; environment variables override it."""
    unset = {"ENABLE_PERSISTENCE": "", "DATABASE_SSL_MODE": ""}
    for preset, told in PRESETS.items():
        compose("up", "-d", *SCALE, quiet=True, CONFIG_FILE=preset, **unset)
        until(START_S, f"all parts are healthy with {preset}", lambda: healthy(compose))
        shown = in_effect(compose)
        if not told <= shown:
            raise Broken(f"{preset}: not {told - shown} but {shown}")
        status, body, _ = chat(compose, f"compose-{preset}")
        if status != 200:
            raise Broken(f"{preset}: chat gave {status}: {body}")
        print(f"    {preset}: {', '.join(sorted(told))}")
    compose("up", "-d", *SCALE, quiet=True, CONFIG_FILE="config.dev.yaml", LOG_LEVEL="error")
    if "LOG_LEVEL=error" not in in_effect(compose):
        raise Broken("environment variables do not override the file")


def in_effect(compose: Compose) -> set[str]:
    """Return the settings of a running gateway; compose's `exec` reaches only the first replica."""
    name = compose("ps", "-q", "gateway", quiet=True).split()[0]
    command = ["docker", "exec", name, "python", "-m", "services.gateway", "--check-config"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())


def stops_cleanly(compose: Compose) -> None:
    """Every service ends on SIGTERM with code 0."""
    compose("stop", "gateway", "learner", "embedder", quiet=True)
    for name in compose("ps", "-q", "gateway", "learner", "embedder", quiet=True).split():
        code = subprocess.run(
            ["docker", "inspect", "-f", "{{.Name}} {{.State.ExitCode}}", name],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        if not code.endswith(" 0"):
            raise Broken(f"container and exit code: {code}")


if __name__ == "__main__":
    sys.exit(main())
