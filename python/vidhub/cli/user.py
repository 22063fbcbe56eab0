"""`vidhub user`: accounts of people, in the data directory or through the running hub."""

from __future__ import annotations

import typer

from vidhub.cli import local
from vidhub.cli.report import read_password, settings

app = typer.Typer(help="Accounts of people.", no_args_is_help=True)


def _show(context: typer.Context, user: dict[str, object], done: str) -> None:
    settings(context).answer(user, f"{user['name']} {done}")


@app.command("add")
def add(
    context: typer.Context,
    name: str,
    role: list[str] = typer.Option(
        ..., help="operator, unit, approver, supervisor, auditor or administrator; may be repeated."
    ),
    unit: str = typer.Option("", help="Id of the unit the person belongs to."),
    department: str = typer.Option("", help="Department, as grants name it."),
    display_name: str = typer.Option("", help="Name as people write it."),
    password_stdin: bool = typer.Option(False, "--password-stdin", help="Read the password from standard input."),
) -> None:
    """Add a person."""
    if not password_stdin:
        raise typer.BadParameter("give the password on standard input with --password-stdin")
    user = local.call(
        settings(context),
        "user_add",
        {
            "name": name,
            "roles": role,
            "unit_id": unit,
            "department": department,
            "display_name": display_name,
            "password": read_password(),
        },
    )
    _show(context, user, "added")


@app.command("list")
def list_users(context: typer.Context) -> None:
    """List the people."""
    answer = local.call(settings(context), "user_list", {})
    settings(context).table(
        answer,
        ["name", "roles", "department", "unit", "suspended"],
        (
            [
                user["name"],
                ", ".join(user["roles"]),
                user["department"],
                user["unit_id"],
                "yes" if user["suspended"] else "",
            ]
            for user in answer["users"]
        ),
    )


@app.command("passwd")
def passwd(
    context: typer.Context,
    name: str,
    password_stdin: bool = typer.Option(False, "--password-stdin", help="Read the password from standard input."),
) -> None:
    """Set a person's password; their logins end."""
    if not password_stdin:
        raise typer.BadParameter("give the password on standard input with --password-stdin")
    user = local.call(settings(context), "user_passwd", {"name": name, "password": read_password()})
    _show(context, user, "has a new password")


@app.command("suspend")
def suspend(context: typer.Context, name: str) -> None:
    """Suspend a person: logins and views end within a second."""
    _show(context, local.call(settings(context), "user_suspend", {"name": name}), "suspended")


@app.command("resume")
def resume(context: typer.Context, name: str) -> None:
    """Let a suspended person in again."""
    _show(context, local.call(settings(context), "user_resume", {"name": name}), "resumed")
