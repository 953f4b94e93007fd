"""The command-line parser of all scripts: strict options with help, and errors in one line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from vouch.base.errors import VouchError, mishap, nearest
from vouch.base.numbers import plain_float, plain_int
from vouch.cli.messages import reports_shown
from vouch.cli.startup import missing_package, say_interrupted

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help formatter that shows the default of each option and keeps the line breaks of the description."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        # Compared by identity, since 0 equals False and a default of 0 is worth showing.
        if action.default is None or action.default is False or action.default in ("", argparse.SUPPRESS):
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser without abbreviations whose errors name the nearest option or choice."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=_Formatter, allow_abbrev=False)
        # All scripts parse `type=int` and `type=float` strictly.
        self.register("type", int, plain_int)
        self.register("type", float, plain_float)

    def parse_args(  # type: ignore[override]  # no script gives a namespace of its own
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> argparse.Namespace:
        known, unknown = self.parse_known_args(args, namespace)
        for word in unknown:
            if word.startswith("-"):
                options = [option for action in self._actions for option in action.option_strings]
                self.error(f"unknown option '{word}'{nearest(word.split('=')[0], options)}")
        if unknown:
            self.error(f"unexpected argument '{unknown[0]}'")
        return known

    def parse_with_overrides(
        self, sections: Sequence[str], describe: Callable[[list[str], dict[str, str]], str] | None = None
    ) -> tuple[argparse.Namespace, dict[str, str]]:
        """Parse a command line with configuration options such as `--loss.margin 0.3` at any position.

        Parameters
        ----------
        sections : sequence of str
            Sections of the configuration; `--SECTION VALUE` and `--SECTION.OPTION VALUE` belong to it.
        describe : callable, optional
            Function of the other words and the configuration options that returns the help on the sections.

        Returns
        -------
        tuple of argparse.Namespace and dict of str to str
            The other arguments, and the configuration options by dotted name.
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
        if describe is not None and ("-h" in words or "--help" in words):
            self.epilog = describe(words, overrides)
        return self.parse_args(words), overrides

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print the help; unlike argparse, this reports a full disk."""
        if file is not None:
            file.write(self.format_help())
            return
        sys.stdout.write(self.format_help())
        sys.stdout.flush()

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(
                action, f"unknown value '{value}'{nearest(str(value), map(str, action.choices))}"
            )


def catch_stops(stop: Callable[[signal.Signals], None]) -> None:
    """Call `stop` at the first signal that asks this process to end: SIGTERM, SIGHUP or SIGINT.

    Further signals are ignored, so that they do not interrupt the clean-up: several can arrive for one reason, as when
    a terminal is closed or `timeout` ends a process group. Signals that were ignored before stay ignored, such as
    SIGHUP under nohup and SIGINT for background jobs of a shell.
    """
    caught = [n for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT) if signal.getsignal(n) is not signal.SIG_IGN]

    def once(number: int, frame: object) -> None:
        for other in caught:
            signal.signal(other, signal.SIG_IGN)
        stop(signal.Signals(number))

    for number in caught:
        signal.signal(number, once)


def run_main(main: Callable[[], None]) -> NoReturn:
    """Run a script's `main`; errors that the user can mend become one line on stderr and exit status 1."""
    program = os.path.basename(sys.argv[0])
    sys.excepthook = sys.__excepthook__
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> NoReturn:
        received.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    catch_stops(stop)
    try:
        with reports_shown():
            main()
        sys.stdout.flush()
    except VouchError as error:
        sys.exit(f"{program}: error: {error}")
    except KeyboardInterrupt:
        say_interrupted()
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (head, less) has closed it, which is not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        # Compiled modules such as those of matplotlib may turn the exception that ends the script into one of their
        # own.
        if received:
            if received[0] == signal.SIGINT:
                say_interrupted()
            sys.exit(128 + received[0])
        line = mishap(error)
        if line is not None:
            sys.exit(f"{program}: error: {line}; nothing half-written was kept")
        line = missing_package(error)
        if line is None:
            raise
        sys.exit(f"{program}: error: {line}")
    sys.exit(0)
