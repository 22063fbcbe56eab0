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


@app.command("reset")
def reset(context: typer.Context, name: str) -> None:
    """Give a person a one-time password, good for 72 hours, to be changed at the first log-in; their logins end."""
    answer = local.call(settings(context), "user_reset", {"name": name})
    settings(context).answer(answer, f"{answer['one_time_password']}  for {name}, good until {answer['expire_time']}")


@app.command("update")
def update(
    context: typer.Context,
    name: str,
    role: list[str] = typer.Option([], help="All roles from now on; may be repeated."),
    unit: str | None = typer.Option(None, help="Id of the unit the person belongs to."),
    department: str | None = typer.Option(None, help="Department, as grants name it."),
    display_name: str | None = typer.Option(None, help="Name as people write it."),
) -> None:
    """Change a person's account; other roles, another department or unit end their logins and views."""
    given = {"unit_id": unit, "department": department, "display_name": display_name, "roles": role or None}
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise typer.BadParameter("say what to change: --role, --unit, --department or --display-name")
    _show(context, local.call(settings(context), "user_update", {"name": name, "changes": changes}), "changed")


@app.command("suspend")
def suspend(context: typer.Context, name: str, reason: str = typer.Option("", help="Why; it goes on record.")) -> None:
    """Suspend a person: logins and views end within a second."""
    answer = local.call(settings(context), "user_suspend", {"name": name, "reason": reason})
    _show(context, answer, "suspended")


@app.command("resume")
def resume(context: typer.Context, name: str) -> None:
    """Let a suspended person in again."""
    _show(context, local.call(settings(context), "user_resume", {"name": name}), "resumed")


@app.command("logins")
def logins(context: typer.Context, name: str = typer.Argument("*", help="Of one person; else of everybody.")) -> None:
    """List the logins under way."""
    answer = local.call(settings(context), "user_logins", {"name": name})
    keys = ("id", "name", "create_time", "source_address", "client")
    rows = ([login[key] for key in keys] for login in answer["logins"])
    settings(context).table(answer, ["id", "name", "since", "from", "client"], rows)


@app.command("end-login")
def end_login(context: typer.Context, login_id: str = typer.Argument(..., metavar="ID")) -> None:
    """End a login: the person must log in again there."""
    answer = local.call(settings(context), "user_end_login", {"id": login_id})
    settings(context).answer(answer, f"login {login_id} ended")
