"""The processes: three languages, each instance with a `mesh proxy` around it, and one proxy beside the customer."""

import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
TRUST_DOMAIN = "polyglot.example"
# The service of each instance.
INSTANCES = {
    "shop": "shop",
    "reviews-v1": "reviews",
    "reviews-v2": "reviews",
    "ratings-a": "ratings",
    "ratings-b": "ratings",
    "ratings-c": "ratings",
}
# What tells instances of a service apart.
OWN = {
    "reviews-v1": {"VERSION": "v1"},
    "reviews-v2": {"VERSION": "v2"},
    "ratings-a": {"INSTANCE": "a"},
    "ratings-b": {"INSTANCE": "b"},
    "ratings-c": {"INSTANCE": "c", "SICK": "3"},
}
STARTUP_SECONDS = 20


def free_ports(count):
    """Ports that nobody listens on now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class World:
    """Starts everything; ends all that is left of it."""

    def __init__(self):
        self.installed = pathlib.Path(os.environ["POLYGLOT"]).resolve()
        self.mesh = os.environ["MESH_BIN"]
        self.directory = tempfile.TemporaryDirectory(prefix="polyglot-")
        self.path = pathlib.Path(self.directory.name)
        self.processes = {}
        names = [*INSTANCES, "customer"]
        ports = iter(free_ports(3 * len(names)))
        # Of each: the port for callers, the one for what it calls, the application's.
        self.inbound, self.outbound, self.application = (
            {name: next(ports) for name in names} for _ in range(3)
        )

    def __enter__(self):
        self.certificates("certs", "customer", "shop", "reviews", "ratings", "guest")
        # Somebody else's.
        self.certificates("other", "customer")
        try:
            for name, service in INSTANCES.items():
                self.start(name, service, self.command(service))
            self.start("customer", "customer", [])
            for name in INSTANCES:
                self.wait(name, self.application[name])
                self.wait(name, self.inbound[name])
                self.wait(name, self.outbound[name])
            self.wait("customer", self.outbound["customer"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.terminate()
        until = time.monotonic() + 5
        for name, process in self.processes.items():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            self.kill(name)
        self.directory.cleanup()

    def certificates(self, directory, *names):
        words = ["certs", "new", "--out", str(self.path / directory), "--trust-domain", TRUST_DOMAIN]
        subprocess.run([self.mesh, *words, *names], check=True, stdout=subprocess.DEVNULL)

    def command(self, service):
        match service:
            case "shop":
                return [self.installed / "venv/bin/python3", HERE / "shop/app.py"]
            case "reviews":
                return ["node", self.installed / "reviews/server.mjs"]
            case _:
                return [self.installed / "ratings"]

    def start(self, name, service, command):
        proxy = f"http://127.0.0.1:{self.outbound[name]}"
        environment = {
            **{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
            **{key.upper().replace("-", "_"): str(port) for key, port in self.inbound.items()},
            **OWN.get(name, {}),
            "CERTS": str(self.path / "certs"),
            "INBOUND": str(self.inbound[name]),
            "OUTBOUND": str(self.outbound[name]),
            "PORT": str(self.application[name]),
            # All that an application is told; in lower case, too, for who looks only there.
            "HTTP_PROXY": proxy,
            "http_proxy": proxy,
        }
        words = [self.mesh, "proxy", "--workers", "1", "--drain-timeout", "2s"]
        words += ["--config", HERE / f"mesh/{service}.yaml", *(["--", *command] if command else [])]
        with open(self.path / f"{name}.log", "wb") as log:
            # A group of its own, so that both can be ended at once, as if a machine went.
            self.processes[name] = subprocess.Popen(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, name, port):
        """Until somebody listens there."""
        until = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < until:
            if self.processes[name].poll() is not None:
                raise RuntimeError(f"{name} ended: {self.log(name)}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.05)
        raise RuntimeError(f"{name} does not listen: {self.log(name)}")

    def kill(self, name):
        """Ends a proxy and its application at once, without a word to anybody."""
        try:
            os.killpg(self.processes[name].pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.processes[name].wait(5)

    def log(self, name):
        return (self.path / f"{name}.log").read_text(errors="replace")
