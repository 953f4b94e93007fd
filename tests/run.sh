#!/usr/bin/env bash
# Check and test everything: ruff, mypy, shellcheck, pytest. Arguments go to pytest (tests/run.sh -x tests/kaldi).
set -euo pipefail

unset CDPATH # cd would follow it
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=path.sh
. ./path.sh

if ! python3 -m pip install --quiet --no-deps --dry-run --no-index -r tests/requirements.txt >/dev/null 2>&1; then
  python3 -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
fi

python3 -m ruff check .
python3 -m ruff format --check .
python3 -m mypy

shell_files=(run.sh path.sh tests/run.sh .ci/run)
for file in egs/*/corpus.sh conf/protocols/*.sh; do
  [ ! -e "$file" ] || shell_files+=("$file")
done
"$(python3 -c 'import sysconfig; print(sysconfig.get_path("scripts"))')/shellcheck" --external-sources "${shell_files[@]}"

# One process per processor; a file stays together, since its tests may share what is slow to make.
python3 -m pytest -q -n auto --dist loadfile "$@"
