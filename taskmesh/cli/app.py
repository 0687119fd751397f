"""All commands, put together. What a command needs is imported when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import typer

from taskmesh.cli import (
    breaking,
    configuration,
    demonstration,
    doctoring,
    explaining,
    flows,
    hearing,
    importing,
    inspecting,
    letters,
    mending,
    plugins,
    pushing,
    running,
    schedule_views,
    scheduling,
    signalling,
    steering,
    telling,
    versions,
    working,
)

_HELP = "A distributed task queue whose unit of work is a DAG."


def build() -> typer.Typer:
    """The command line; each group of commands stands in a module of its own."""
    app = _group(_HELP)
    for command in (
        running.run,
        running.submit,
        inspecting.ls,
        inspecting.show,
        inspecting.watch,
        explaining.explain,
        telling.history,
        steering.pause,
        steering.resume,
        steering.cancel,
        steering.terminate,
        steering.retry,
        mending.rerun,
        mending.fork,
        mending.skip,
        mending.mark,
        signalling.signal,
        signalling.approve,
        signalling.reject,
        inspecting.compensate,
        working.worker,
        working.keeper,
        flows.graph,
        flows.validate,
        doctoring.doctor,
        demonstration.demo,
        configuration.version,
    ):
        app.command()(command)
    app.command(context_settings=working.BENCH_CONTEXT, add_help_option=False)(working.bench)
    app.add_typer(_import(), name="import")
    app.add_typer(_config(), name="config")
    app.add_typer(_dead(), name="dead")
    app.add_typer(_breakers(), name="breakers")
    app.add_typer(_flow(), name="flow")
    app.add_typer(_schedule(), name="schedule")
    app.add_typer(_plugins(), name="plugins")
    app.add_typer(_events(), name="events")
    return app


def _import() -> typer.Typer:
    app = _group("Turn what other systems recorded into flows.")
    app.callback()(lambda: None)
    app.command()(importing.wfcommons)
    return app


def _config() -> typer.Typer:
    app = _group("Look at the settings, and push live ones to all workers.")
    for command in (
        configuration.show,
        pushing.push,
        pushing.log,
        pushing.rollback,
        pushing.unset,
        pushing.workers,
    ):
        app.command()(command)
    return app


def _dead() -> typer.Typer:
    app = _group("Look at the messages that no worker could use, replay or purge them.")
    for command in (letters.ls, letters.show, letters.replay, letters.purge):
        app.command()(command)
    return app


def _breakers() -> typer.Typer:
    app = _group("Look at circuit breakers, open or close them.")
    for command in (breaking.ls, breaking.show, breaking.reset):
        app.command()(command)
    app.command("open")(breaking.open_)
    return app


def _flow() -> typer.Typer:
    app = _group("Register flows and their versions; compare, activate, roll back and archive them.")
    for command in (
        versions.push,
        versions.ls,
        versions.show,
        versions.diff,
        versions.activate,
        versions.rollback,
        versions.archive,
        versions.restore,
        versions.log,
    ):
        app.command()(command)
    return app


def _schedule() -> typer.Typer:
    app = _group("Have runs begin by themselves: put schedules, look at them, pause, trigger, backfill or remove them.")
    for command in (
        scheduling.add,
        scheduling.apply,
        schedule_views.ls,
        schedule_views.show,
        scheduling.pause,
        scheduling.resume,
        scheduling.trigger,
        scheduling.backfill,
        scheduling.rm,
    ):
        app.command()(command)
    app.command("next")(schedule_views.next_)
    return app


def _plugins() -> typer.Typer:
    app = _group("Look at the node types that flows can use here.")
    for command in (plugins.ls, plugins.show):
        app.command()(command)
    return app


def _events() -> typer.Typer:
    app = _group("Events: those of runs and nodes that have ended, and those that begin runs.")
    for command in (hearing.tail, hearing.publish, hearing.ls):
        app.command()(command)
    return app


def _group(text: str) -> typer.Typer:
    return typer.Typer(
        help=text,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
