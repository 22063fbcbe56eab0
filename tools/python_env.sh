#!/usr/bin/env bash
# Makes the virtual environment with exactly the versions and hashes of requirements/dev.txt.
# Usage: python_env.sh PYTHON VENV
set -euo pipefail
"$1" - <<'PY'
import sys
if sys.version_info < (3, 11):
    sys.exit(f"vidhub needs Python 3.11 or newer; this is {sys.version.split()[0]}. Set PYTHON3=/path/to/python3.11.")
PY
[ -x "$2/bin/python" ] || "$1" -m venv "$2"
"$2/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
