# shellcheck shell=bash
# Sourced by run.sh, by tests and by people (". ./path.sh"): puts a Python that has the packages of requirements.txt
# first on PATH, creates that environment if there is none, and sets PYTHONPATH and the sorting order of Kaldi's
# files. It sets no shell options, since it may be sourced by an interactive shell.

vouch_root=${BASH_SOURCE[0]}
[ ! -L "$vouch_root" ] || vouch_root=$(readlink -f "$vouch_root")
# With an exported CDPATH, cd may change to another folder and prints its name.
vouch_root=$(unset CDPATH && cd "$(dirname "$vouch_root")" && pwd)
export LC_ALL=C
export PYTHONPATH="$vouch_root/src${PYTHONPATH:+:$PYTHONPATH}"

# The active Python is used if it has the packages in suitable versions.
if ! vouch_wrong=$(python3 "$vouch_root/utils/environment.py" --check 2>&1); then
  # If an environment is active, say why it is not used.
  [ -z "${VIRTUAL_ENV:-${CONDA_PREFIX:-}}" ] ||
    echo "path.sh: not the environment that is active, but $vouch_root/.venv: ${vouch_wrong##*$'\n'}" >&2
  # Take the first Python for which the packages have wheels, according to environment.py.
  for vouch_python in python3 python3.13 python3.12 python3.11 python3.10 none; do
    "$vouch_python" "$vouch_root/utils/environment.py" --check-python 2>/dev/null && break
  done
  if [ "$vouch_python" = none ]; then
    echo "path.sh: error: needs Python 3.10 to 3.13 on PATH: there are no packages for others yet" >&2
    return 1
  fi
  "$vouch_python" "$vouch_root/utils/environment.py" "$vouch_root/.venv" || return 1
  export PATH="$vouch_root/.venv/bin:$PATH"
fi
unset vouch_root vouch_wrong vouch_python
