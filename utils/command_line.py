"""What all scripts share: strict options with help, and errors as one line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from vouch.errors import VouchError, mishap, nearest


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults after each option, the description as it is written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        # Not `in`: 0 equals False, and a default of 0 is worth showing.
        if action.default is None or action.default is False or action.default in ("", argparse.SUPPRESS):
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser without abbreviations whose errors name the nearest option or choice."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=_Formatter, allow_abbrev=False)

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        known, unknown = self.parse_known_args(args, namespace)
        for word in unknown:
            if word.startswith("-"):
                options = [option for action in self._actions for option in action.option_strings]
                self.error(f"unknown option '{word}'{nearest(word.split('=')[0], options)}")
        if unknown:
            self.error(f"unexpected argument '{unknown[0]}'")
        return known

    def parse_with_overrides(self, sections: Sequence[str]) -> tuple[argparse.Namespace, dict[str, str]]:
        """Parse a command line on which configuration options such as `--loss.margin 0.3` may stand anywhere.

        Parameters
        ----------
        sections : of the configuration; `--SECTION VALUE` and `--SECTION.OPTION VALUE` are taken out

        Returns
        -------
        the other arguments, and the configuration options by dotted name
        """
        for section in sections:
            self.add_argument(f"--{section}", help=argparse.SUPPRESS)
        words: list[str] = []
        overrides: dict[str, str] = {}
        arguments = iter(sys.argv[1:])
        for word in arguments:
            name, equals, value = word.removeprefix("--").partition("=")
            if not word.startswith("--") or name.split(".")[0] not in sections:
                words.append(word)
                continue
            following = value if equals else next(arguments, None)
            if following is None or (not equals and following.startswith("--")):
                self.error(f"option '{word}' needs a value")
            overrides[name] = following
        return self.parse_args(words), overrides

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(
                action, f"unknown value '{value}'{nearest(str(value), map(str, action.choices))}"
            )


def run_main(main: Callable[[], None]) -> NoReturn:
    """Run a script's `main`; what the user can mend becomes one line on stderr and exit status 1."""
    program = os.path.basename(sys.argv[0])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    is_interrupted = False

    def interrupt(*_: object) -> NoReturn:
        nonlocal is_interrupted
        is_interrupted = True
        raise KeyboardInterrupt

    # Not where it is ignored, as by a job in the background of a shell.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        main()
        sys.stdout.flush()
    except VouchError as error:
        sys.exit(f"{program}: error: {error}")
    except KeyboardInterrupt:
        _say_interrupted(program)
    except BrokenPipeError:
        # The reader of our output (head, less) went away; that is its right.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        # Compiled modules, those of matplotlib among them, may turn the interruption into an error of their own.
        if is_interrupted:
            _say_interrupted(program)
        line = mishap(error)
        if line is None:
            raise
        sys.exit(f"{program}: error: {line}; nothing half-written was kept")
    sys.exit(0)


def _say_interrupted(program: str) -> NoReturn:
    print(f"{program}: interrupted; the same command starts again where that is possible", file=sys.stderr)
    sys.exit(130)
