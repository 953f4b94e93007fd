# shellcheck shell=bash
# Sourced by run.sh, by tests and by people (". ./path.sh"): puts a Python that has the packages of requirements.txt
# first on PATH, makes that environment if there is none, and sets PYTHONPATH and the sorting order that Kaldi's files
# have. It sets no shell options, since it may be sourced by an interactive shell.

vouch_root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export LC_ALL=C
export PYTHONPATH="$vouch_root/src${PYTHONPATH:+:$PYTHONPATH}"

# An environment that is active already and has the packages is used as it is.
if ! python3 "$vouch_root/utils/environment.py" --check 2>/dev/null; then
  for vouch_python in python3 python3.13 python3.12 python3.11 python3.10 none; do
    "$vouch_python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && break
  done
  if [ "$vouch_python" = none ]; then
    echo "path.sh: error: needs Python 3.10 or later on PATH" >&2
    return 1
  fi
  "$vouch_python" "$vouch_root/utils/environment.py" "$vouch_root/.venv" || return 1
  export PATH="$vouch_root/.venv/bin:$PATH"
fi
