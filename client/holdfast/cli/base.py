"""The classes of the command tree: commands with the common options, groups that load their members when asked.

Common options belong to every command minus the spellings that the command owns, and to every group: ``vector insert``
owns ``-v`` (the vector), ``insert-batch`` and ``export`` own ``--format`` (the file's). What is given innermost wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

import click

from holdfast.cli import exit_codes
from holdfast.cli.not_built import NOTE, options_not_built
from holdfast.cli.state import State
from holdfast.cli.types import SECONDS

HELP_NAMES = ["-h", "--help"]
_FORMATS = ("json", "table", "yaml", "csv")
_MOST_SUGGESTED = 3


def _set(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Store a common option that was given in the state; one that was not leaves it alone."""
    if value is None or ctx.resilient_parsing:
        return
    state = ctx.ensure_object(State)
    if param.name in ("output_format", "verbose"):
        setattr(state, param.name, value)
    else:
        state.connector = state.connector.with_option(param.name or "", value)


def common_options(owned: frozenset[str]) -> list[click.Option]:
    """The common options without the spellings in ``owned``; one without any spelling left is left out."""
    hidden = True
    specs: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
        ("output_format", ("--format",), {"type": click.Choice(_FORMATS), "help": "Output format (default: json)."}),
        ("verbose", ("--verbose", "-v"), {"is_flag": True, "help": "More details, and progress on stderr."}),
        ("address", ("--address",), {"metavar": "ADDRESS", "help": "unix:///path or host:port ($HOLDFAST_ADDRESS)."}),
        ("token_file", ("--token-file",), {"metavar": "FILE", "hidden": hidden, "help": "File with a bearer token."}),
        ("tls_ca", ("--tls-ca",), {"metavar": "FILE", "hidden": hidden, "help": "Certificates to trust."}),
        ("tls_cert", ("--tls-cert",), {"metavar": "FILE", "hidden": hidden, "help": "Our certificate, for mTLS."}),
        ("tls_key", ("--tls-key",), {"metavar": "FILE", "hidden": hidden, "help": "Our key, for mTLS."}),
        ("timeout", ("--timeout",), {"type": SECONDS, "metavar": "SECONDS", "hidden": hidden, "help": "Per call; 60."}),
    ]
    options = []
    for name, spellings, attributes in specs:
        free = [spelling for spelling in spellings if spelling not in owned]
        if free:
            options.append(click.Option([name, *free], default=None, expose_value=False, callback=_set, **attributes))
    return options


class _WithCommonOptions(click.Command):
    """Adds the common options behind a command's own, and shows them under a heading of their own."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": HELP_NAMES, "max_content_width": 110})
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        owned = frozenset(spelling for param in self.params for spelling in (*param.opts, *param.secondary_opts))
        self.common = common_options(owned)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            self._refuse_empty(ctx, args)
        return super().parse_args(ctx, args)

    def _refuse_empty(self, ctx: click.Context, args: list[str]) -> None:
        """Raise UsageError for an empty text: it comes of a variable that is not set, and must not mean "not given"."""
        given, _, order = self.make_parser(ctx).parse_args(list(args))
        for param in order:
            value = given.get(param.name or "")
            if value == "" or (isinstance(value, list | tuple) and "" in value):
                raise click.BadParameter("it is empty; leave it out, or give it a value", ctx, param)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *self.common]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        not_built = options_not_built(_words(ctx))
        common = {id(option) for option in (*self.common, self.get_help_option(ctx))}
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and record[1]:
                names, text = record
                if any(spelling in not_built for spelling in param.opts):
                    text = f"{text} {NOTE}"
                (shared if id(param) in common else own).append((names, text))
        if own:
            with formatter.section("Options"):
                formatter.write_dl(own)
        with formatter.section("Common options"):
            formatter.write_dl(shared)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        super().format_epilog(ctx, formatter)


class Command(_WithCommonOptions):
    """A leaf: its function returns data, and the state shows it."""

    def invoke(self, ctx: click.Context) -> None:
        state = ctx.ensure_object(State)
        state.emit(super().invoke(ctx))


class Leaf(NamedTuple):
    """Where a command lives (``module:attribute`` below ``holdfast.cli.commands``), and its line in the help."""

    home: str
    summary: str


class Branch(NamedTuple):
    """A group: its line in the help, and its members."""

    summary: str
    members: Mapping[str, Node]


Node: TypeAlias = Leaf | Branch


class LazyGroup(_WithCommonOptions, click.Group):
    """A group whose members are loaded when they are asked for: help costs no import of theirs."""

    def __init__(self, name: str | None, branch: Branch, **kwargs: Any) -> None:
        # False: what a group without a command does differs between releases of click; see parse_args.
        super().__init__(name=name, help=kwargs.pop("help", branch.summary + "."), no_args_is_help=False, **kwargs)
        self._branch = branch

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(exit_codes.USAGE)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._branch.members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        node = self._branch.members.get(cmd_name)
        if node is None:
            return None
        return LazyGroup(cmd_name, node) if isinstance(node, Branch) else load(node)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, f"{node.summary}.") for name, node in self._branch.members.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            self._refuse(ctx, args[0])
        return super().resolve_command(ctx, args)

    def _refuse(self, ctx: click.Context, name: str) -> None:
        from difflib import get_close_matches

        root = ctx.find_root().command
        elsewhere = _paths_to(name, self._branch)
        if not elsewhere and isinstance(root, Root):
            elsewhere = [f"holdfast {path}" for path in _paths_to(name, root._branch)]
        near = elsewhere[:_MOST_SUGGESTED] or get_close_matches(name, self._branch.members, n=1)
        suggestion = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        ctx.fail(f"there is no command {name!r}{suggestion}")


def _words(ctx: click.Context) -> str:
    """The command as it is typed behind the program's name."""
    return ctx.command_path.partition(" ")[2]


def _paths_to(name: str, branch: Branch) -> list[str]:
    """The commands below a group whose last word is ``name``, as they are typed behind the group."""
    found = [name] if name in branch.members else []
    for word, node in branch.members.items():
        if isinstance(node, Branch):
            found += [f"{word} {path}" for path in _paths_to(name, node)]
    return found


class Root(LazyGroup):
    """The top of the tree; its members may be written with a leading slash, as in the prompt."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, [args[0].removeprefix("/"), *args[1:]])


def load(leaf: Leaf) -> click.Command:
    """Import a command."""
    module, _, attribute = leaf.home.partition(":")
    command: click.Command = getattr(import_module(f"holdfast.cli.commands.{module}"), attribute)
    return command


pass_state: Callable[[Callable[..., Any]], Callable[..., Any]] = click.make_pass_decorator(State, ensure=True)
