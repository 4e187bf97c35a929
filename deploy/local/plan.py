"""Planner: from the settings to the processes to run, their ports and environments."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import probes
from deploy.local.data_folder import SEVERAL_UPSTREAMS, open_data_folder, upstream_name
from deploy.local.data_folder import SIMULATED as SIMULATED_DATA
from deploy.local.environment import explicit_settings, models_file_environment
from deploy.local.ports import PortChooser, reachable
from deploy.local.postgres import postgres_url
from deploy.local.servers import Server, free_port, postgres_command, qdrant_command, redis_command
from shared.settings import Settings, access_warning

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
SIMULATED = "simulator"


@dataclass(frozen=True, slots=True)
class Simulation:
    """Options of the simulated upstream (`python -m deploy.simulator --help`)."""

    replay: str | None = None
    speed: float = 1.0
    failures: float = 1.0
    faults: float = 0.0
    judge: str = "exact"


@dataclass
class Part:
    """One process of the stack.

    Attributes:
        server: how it is started.
        url: its address.
        ready: probe of readiness.
        after: parts that must be ready before this one starts.
        stop_order: parts with a lower number stop first.
        stop_timeout_s: time from SIGTERM to SIGKILL.
    """

    server: Server
    url: str
    ready: Callable[[], bool]
    after: tuple[str, ...] = ()
    stop_order: int = 2
    stop_timeout_s: float = 10.0
    is_ready: bool = False

    @property
    def name(self) -> str:
        """Name of the part."""
        return self.server.name


@dataclass
class Plan:
    """Parts to start, the addresses of stores, embedder and upstream among them (`own`), and those `given` by the user.

    Both are by setting. `warning`: who else can use the gateway.
    """

    parts: list[Part] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    gateway_url: str = ""
    redis_url: str = ""
    data: Path = Path()
    warning: str | None = None
    simulated: bool = False


@dataclass
class Planner:
    """Planner of a stack.

    `folder` has data and logs, `models` the embedding models, which several stacks may share. With `anywhere`, parts
    get any free port instead of the default one. For a `terminal` parts log as text and draw a progress bar. Several
    `gateways` share the port of the API, and each has its own port besides.
    """

    settings: Settings
    folder: Path
    models: Path
    simulation: Simulation = Simulation()
    say: Callable[[str], None] = print
    anywhere: bool = False
    terminal: bool = False
    gateways: int = 1

    def plan(self) -> Plan:
        """Choose ports and commands. Raises SettingsError when a port that the user set is taken."""
        self._ports, self._plan = PortChooser(self.say), Plan()
        self._explicit = explicit_settings(self.settings)
        self._plan.data = self._data = self._data_folder()
        # Without API keys it listens on the loopback interface only, unless the user sets HOST.
        gateway_host = self.settings.HOST if self.settings.API_KEYS else self._own_host("HOST")
        gateway_port = self._choose("gateway", gateway_host, self.settings.PORT, "PORT")
        wired = {
            "REDIS_URL": self._redis(),
            "QDRANT_URL": self._qdrant(),
            "DATABASE_URL": self._database(),
            "EMBEDDER_URL": "",
            **self._upstream(),
        }
        self._environment = self._base_environment() | {name: value for name, value in wired.items() if value}
        self._environment["EMBEDDER_URL"] = self._embedder()
        self._learner()
        self._gateways(gateway_host, gateway_port)
        self._plan.redis_url = wired["REDIS_URL"]
        return self._plan

    # -- one part each -------------------------------------------------------------------------------------------------

    def _redis(self) -> str:
        if self._is_given("REDIS_URL"):
            return self._use("REDIS_URL")
        port = self._choose("Redis", LOOPBACK, 6379, None)
        url = self._plan.own["REDIS_URL"] = f"redis://{LOOPBACK}:{port}/0"
        command = redis_command(port, self._data / "redis")
        self._add("redis", command, url, lambda: probes.redis_answers(port), stop_order=3)
        return url

    def _qdrant(self) -> str:
        if self._is_given("QDRANT_URL"):
            return self._use("QDRANT_URL")
        port = self._choose("Qdrant", LOOPBACK, 6333, None)
        url = self._plan.own["QDRANT_URL"] = f"http://{LOOPBACK}:{port}"
        command = qdrant_command(port, self._data / "qdrant")
        self._add("qdrant", command, url, lambda: probes.http_ok(port, "/readyz"))
        return url

    def _database(self) -> str:
        given = next((name for name in ("DATABASE_URL", "DATABASE_HOST") if self._is_given(name)), None)
        if not self.settings.ENABLE_PERSISTENCE:
            return ""
        if given is not None:
            self._plan.given[given] = self.settings.masked()[given]
            return ""
        port = self._choose("PostgreSQL", LOOPBACK, 5432, None)
        command = postgres_command(port, self._data / "postgres")
        self._add("postgres", command, postgres_url(port), lambda: probes.postgres_answers(port), stop_order=3)
        url = self._plan.own["DATABASE_URL"] = postgres_url(port) + "?sslmode=disable"  # it never leaves this machine
        return url

    @property
    def _simulates(self) -> bool:
        settings = self.settings
        keyless = settings.OPENROUTER_API_KEY is None and settings.MODELS_FILE is None
        return keyless and not self._is_given("OPENROUTER_BASE_URL")

    def _data_folder(self) -> Path:
        """Return this upstream's data folder; warn when simulated ratings would go into the user's own stores."""
        stores = [name for name in ("REDIS_URL", "QDRANT_URL", "DATABASE_URL", "DATABASE_HOST") if self._is_given(name)]
        if self._simulates and stores:
            self.say(f"{', '.join(stores)}: used as set; what this run stores there comes from SIMULATED models")
        upstream = SIMULATED_DATA if self._simulates else upstream_name(self.settings.OPENROUTER_BASE_URL)
        if self.settings.MODELS_FILE is not None:
            upstream = SEVERAL_UPSTREAMS
        return open_data_folder(self.folder, upstream, self.say)

    def _upstream(self) -> dict[str, str]:
        if self.settings.MODELS_FILE is not None:
            self._plan.given["MODELS_FILE"] = str(self.settings.MODELS_FILE)
            return models_file_environment(self.settings, self.settings.MODELS_FILE)
        if not self._simulates:
            return {"OPENROUTER_BASE_URL": self._use("OPENROUTER_BASE_URL")}
        port = self._choose("the simulated upstream", LOOPBACK, 8090, None)
        command = [sys.executable, "-m", "deploy.simulator", "--host", LOOPBACK, "--port", str(port)]
        command += ["--speed", str(self.simulation.speed), "--failures", str(self.simulation.failures)]
        command += ["--faults", str(self.simulation.faults), "--judge", self.simulation.judge]
        if self.simulation.replay:
            command += ["--replay", self.simulation.replay]
        url = f"http://{LOOPBACK}:{port}/v1"
        self._add(SIMULATED, command, url, lambda: probes.http_ok(port, "/health"))
        self._plan.simulated = True
        own = {"OPENROUTER_BASE_URL": url, "NO_PROXY": "*", "no_proxy": "*"}  # it runs on this machine
        self._plan.own.update(own)
        return own

    def _embedder(self) -> str:
        if self._is_given("EMBEDDER_URL"):
            return self._use("EMBEDDER_URL")
        host = self._own_host("EMBEDDER_HOST")
        port = self._choose("the embedder", host, self.settings.EMBEDDER_PORT, "EMBEDDER_PORT")
        environment = {"EMBEDDER_HOST": host, "EMBEDDER_PORT": str(port)}
        command = [sys.executable, "-m", "services.embedder"]
        url = self._plan.own["EMBEDDER_URL"] = f"http://{reachable(host)}:{port}"
        self._add("embedder", command, url, lambda: probes.http_ok(port, "/ready"), environment=environment)
        return url

    def _learner(self) -> None:
        host = self._own_host("LEARNER_HOST")
        port = self.settings.LEARNER_PORT
        if port:
            port = self._choose("the learner's metrics", host, port, "LEARNER_PORT")
        environment = {"LEARNER_HOST": host, "LEARNER_PORT": str(port)}
        # On a shared core, requests go before learning.
        command = ["nice", "-n", "10", sys.executable, "-m", "services.learner"]
        url = f"http://{reachable(host)}:{port}/metrics" if port else "(no port)"
        self._add(
            "learner",
            command,
            url,
            lambda: not port or probes.listens(port),
            after=("redis", "qdrant", "embedder"),
            stop_order=1,
            stop_timeout_s=30.0,
            environment=environment,
        )

    def _gateways(self, host: str, port: int) -> None:
        self._plan.gateway_url = f"http://{reachable(host)}:{port}"
        self._plan.warning = access_warning(self.settings, host=host, port=port)
        if self.gateways == 1:
            self._gateway("gateway", host, port, {})
            return
        shared = {"SHARED_PORT": str(port)}
        if not self._is_given("ASSUMED_GATEWAYS"):
            shared["ASSUMED_GATEWAYS"] = str(self.gateways)
        for number in range(1, self.gateways + 1):
            name = f"gateway-{number}"
            self._gateway(name, host, self._choose(name, host, port + 100 + number, None), shared)

    def _gateway(self, name: str, host: str, port: int, environment: dict[str, str]) -> None:
        self._add(
            name,
            [sys.executable, "-m", "services.gateway"],
            f"http://{reachable(host)}:{port}",
            probes.GatewayProbe(port),
            after=("redis", "qdrant", "embedder", SIMULATED),
            stop_order=0,
            stop_timeout_s=self.settings.DRAIN_DELAY_S + self.settings.DRAIN_TIMEOUT_S + 10.0,
            environment={"HOST": host, "PORT": str(port), **environment},
        )

    # -- what they share -----------------------------------------------------------------------------------------------

    def _add(
        self,
        name: str,
        command: list[str],
        url: str,
        ready: Callable[[], bool],
        *,
        after: tuple[str, ...] = (),
        stop_order: int = 2,
        stop_timeout_s: float = 10.0,
        environment: dict[str, str] | None = None,
    ) -> None:
        ours = name.startswith(("embedder", "learner", "gateway"))
        server = Server(
            name,
            command,
            self.folder / "logs" / f"{name}.log",
            environment={**(self._environment if ours else self._base_environment()), **(environment or {})},
            replace_environment=True,
            folder=self.folder,
        )
        self._plan.parts.append(Part(server, url, ready, after, stop_order, stop_timeout_s))

    def _base_environment(self) -> dict[str, str]:
        """Return the environment of every part: the inherited one, with the settings as they were resolved here."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in Settings.model_fields and name not in {"CONFIG_FILE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
        }
        paths = {"SPOOL_DIR": self.settings.SPOOL_DIR, "MODEL_CACHE_DIR": self.settings.MODEL_CACHE_DIR}
        ours = {"SPOOL_DIR": self._data / "spool", "MODEL_CACHE_DIR": self.models}
        located = {name: str(path.resolve() if self._is_given(name) else ours[name]) for name, path in paths.items()}
        python = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        looks = {"LOG_FORMAT": "text", "PROGRESS_BAR": "1"} if self.terminal else {}
        return inherited | python | looks | self._explicit | located

    def _choose(self, name: str, host: str, wanted: int, setting: str | None) -> int:
        if self.anywhere:
            return free_port()
        return self._ports.choose(name, host, wanted, fixed=setting if setting and self._is_given(setting) else None)

    def _own_host(self, setting: str) -> str:
        """Return the host to bind: the loopback interface, unless the user set another."""
        return str(getattr(self.settings, setting)) if self._is_given(setting) else LOOPBACK

    def _use(self, setting: str) -> str:
        """Return the address of a server that the user runs, and note it in the plan."""
        self._plan.given[setting] = self.settings.masked()[setting]
        return str(getattr(self.settings, setting))

    def _is_given(self, setting: str) -> bool:
        return setting in self._explicit
