"""E18: TLS to both servers, and certificates that are exchanged or cannot be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.harness.certificates import Authority, has_openssl
from tests.harness.processes import Process
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.figures import Figures
from tests.nemesis.not_here import NotHereError
from tests.nemesis.secure_servers import SecureServers, secure_servers
from tests.nemesis.trial import Trial

COMMAND_SECONDS = 60.0
EXIT_USAGE = 2
REPEATED = 32

tls = Catalogue()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A way to begin TLS that must fail, and what must be said. ``is_waited_for``: as a server that is away is."""

    what: str
    urls: Mapping[str, str]
    sentences: Sequence[str]
    is_waited_for: bool = False

    def is_told_by(self, worker: Process) -> bool:
        """A worker stops at the first server that is wrong."""
        return any(sentence in worker.output for sentence in self.sentences)


@tls.add("E18", "tls", tier=2)
def tls_certificates(trial: Trial) -> Figures:
    """Both servers are reached by TLS. Their certificate is exchanged under load, and all connections are cut: new ones
    trust the new one. One that has expired, is for another host or of an unknown authority, and a port without TLS, are
    each refused with a sentence, and nobody falls back to plain text."""
    if not has_openssl():
        raise NotHereError("the openssl command, which makes certificates, is not installed")
    authority, stranger = Authority(trial.directory), Authority(trial.directory, "stranger")
    expired, elsewhere = authority.sign("expired", days=-1), authority.sign("elsewhere", names="DNS:elsewhere.test")
    first, second = authority.sign("first"), authority.sign("second")
    servers = trial.open.enter_context(secure_servers(trial.directory, authority.certificate.path, first))
    trial.use(servers.rabbitmq, servers.redis)
    trial.mesh = trial.client(servers.store_url(), servers.broker_url())
    trial.workers(2, env=_urls(servers.broker_url(), servers.store_url()))
    trial.watch()
    trial.load(*app.random_shapes, runs=40, seconds=0.02)
    trial.await_effects(20)
    servers.serve(second)
    _cut_all(trial, servers)
    trial.load(app.diamond, runs=10)
    trial.settle()
    figures = trial.finish(Bounds(duplicates_at_most=REPEATED))
    _check_refused(trial, [_of_authority(servers, stranger), *_of_plain_ports(servers)])
    servers.serve(expired)
    _check_refused(trial, [_of_served(servers, "a certificate that has expired", "certificate has expired")])
    servers.serve(elsewhere)
    _check_refused(trial, [_of_served(servers, "a certificate of another host", "certificate is not valid for")])
    return figures


def _cut_all(trial: Trial, servers: SecureServers) -> None:
    servers.rabbitmq.ctl("close_all_connections", "experiment")
    trial.ledger.ask("CLIENT", "KILL", "LADDR", f"127.0.0.1:{servers.store_port}")
    trial.struck()


def _of_authority(servers: SecureServers, stranger: Authority) -> Refusal:
    file = stranger.certificate.path
    return _of_certificate("an unknown authority", _urls(servers.broker_url(file), servers.store_url(file)))


def _of_served(servers: SecureServers, what: str, why: str) -> Refusal:
    return _of_certificate(what, _urls(servers.broker_url(), servers.store_url()), why)


def _of_certificate(what: str, urls: Mapping[str, str], *why: str) -> Refusal:
    return Refusal(what, urls, ["the certificate of Redis cannot be trusted", "the certificate of RabbitMQ at", *why])


def _of_plain_ports(servers: SecureServers) -> Sequence[Refusal]:
    of_broker = _urls(servers.broker_url(port=servers.rabbitmq.port), servers.store_url())
    of_store = _urls(servers.broker_url(), servers.store_url(port=servers.redis.port))
    return [
        Refusal("a plain port of RabbitMQ", of_broker, ["RabbitMQ does not speak TLS"]),
        Refusal("a plain port of Redis", of_store, ["a port that is not for TLS"], is_waited_for=True),
    ]


def _urls(broker_url: str, store_url: str) -> dict[str, str]:
    return {"TASKMESH_BROKER_URL": broker_url, "TASKMESH_STORE_URL": store_url}


def _check_refused(trial: Trial, refusals: Sequence[Refusal]) -> None:
    """The doctor says what is wrong with each server that is wrong, and no worker begins to work."""
    words = ("worker", "-A", "tests.nemesis.app", "--health-port", "0")
    workers = [(each, trial.command(*words, env=each.urls)) for each in refusals]
    for refusal, doctor in [(each, trial.command("doctor", env=each.urls)) for each in refusals]:
        assert doctor.wait(COMMAND_SECONDS) != 0, f"the doctor finds nothing wrong with {refusal.what}"
        missing = [sentence for sentence in refusal.sentences if sentence not in doctor.output]
        assert not missing, f"of {refusal.what} the doctor does not say {missing}:\n{doctor.output}"
        assert "Traceback" not in doctor.output, doctor.output
        trial.struck()
    for refusal, worker in workers:
        _check_worker(refusal, worker)


def _check_worker(refusal: Refusal, worker: Process) -> None:
    if refusal.is_waited_for:
        worker.wait_for(lambda: refusal.is_told_by(worker), "words about it", COMMAND_SECONDS)
        worker.kill9()
    else:
        assert worker.wait(COMMAND_SECONDS) == EXIT_USAGE, f"a worker has accepted {refusal.what}"
        assert refusal.is_told_by(worker), f"a worker does not say what is wrong with {refusal.what}:\n{worker.output}"
