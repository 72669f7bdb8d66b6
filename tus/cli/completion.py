"""`tus completion`: what a shell needs to complete commands and options, from what `--help` knows."""

from __future__ import annotations

import argparse

from . import COMMANDS, parser_of

_BASH = """\
_tus() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" words
    case "${{COMP_WORDS[1]}}" in
{cases}
    *) words="" ;;
    esac
    [ "$COMP_CWORD" = 1 ] && words="{commands}"
    if [ "$COMP_CWORD" = 1 ] || [[ "$word" == -* ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    fi
}}
complete -o default -F _tus tus
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        'Bash: eval "$(tus completion bash)". Zsh: the same, after compinit. Fish: tus completion fish | source'
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])


def main(args: argparse.Namespace) -> int:
    print(_fish() if args.shell == "fish" else _zsh() if args.shell == "zsh" else _bash(), end="")
    return 0


def _options(command: str) -> list[tuple[list[str], str]]:
    """The names of each option, and what it is for."""
    parser = parser_of(command)
    formatter = parser._get_formatter()
    return [
        (list(action.option_strings), formatter._expand_help(action) if action.help else "")
        for action in parser._actions
        if action.option_strings
    ]


def _bash() -> str:
    cases = "\n".join(
        f'    {command}) words="{" ".join(name for names, _ in _options(command) for name in names)}" ;;'
        for command in COMMANDS
    )
    return _BASH.format(cases=cases, commands=" ".join(COMMANDS))


def _zsh() -> str:
    """Zsh runs what is written for bash."""
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash()


def _fish() -> str:
    lines = [
        f"complete -c tus -n __fish_use_subcommand -f -a {name} -d {_quoted(text)}" for name, text in COMMANDS.items()
    ]
    for command in COMMANDS:
        for names, text in _options(command):
            flags = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in names)
            seen = f"'__fish_seen_subcommand_from {command}'"
            lines.append(f"complete -c tus -n {seen} {flags} -d {_quoted(text)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
