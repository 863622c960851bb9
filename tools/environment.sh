# Sourced by the tools that need the virtual environment. Not a command.
#
#   prepare_environment [EXTRA,…]   makes .venv in the repository and installs Rowmill with these extras;
#                                   does nothing when that was done before for the same pyproject.toml

repository="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
environment="$repository/.venv"
python="$environment/bin/python"

fail() {
  printf 'Error: %s\n' "$1" >&2
  exit 1
}

is_new_enough() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  local candidate
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if command -v "$candidate" >/dev/null 2>&1 && is_new_enough "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail "Rowmill needs Python 3.11 or newer with its modules venv and ensurepip (on Debian: apt install python3-venv), and none is on the PATH."
}

prepare_environment() {
  local extras="${1:-}" base stamp wanted
  # An environment that was interrupted half-way, or whose Python is gone, is made anew.
  if ! { [ -x "$python" ] && "$python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }; then
    base="$(find_python)"
    printf 'Making %s …\n' "$environment" >&2
    "$base" -m venv --clear "$environment" || fail "Could not make $environment."
  fi
  stamp="$environment/.installed-${extras//,/-}"
  wanted="$(cksum <"$repository/pyproject.toml") $repository"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    return
  fi
  printf 'Installing Rowmill into %s …\n' "$environment" >&2
  rm -f "$stamp"
  "$python" -m pip install --quiet --disable-pip-version-check --editable "$repository${extras:+[$extras]}" ||
    fail "The installation failed; see above. Run the same command again to go on."
  # Written last: an interrupted installation is done again.
  printf '%s\n' "$wanted" >"$stamp"
}
