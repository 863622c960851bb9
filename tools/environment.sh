# Sourced by the tools that need the virtual environment. Not a command.
#
#   prepare_environment run|test|newest|oldest
#
# makes the environment in the repository and installs Rowmill and what it needs; does nothing when that was done before.
#
#   run, test         .venv: what tools/locked/ says, for running alone, or for tests and checks too
#   newest            .venv-newest: for tests and checks, the newest version of everything that pyproject.toml allows
#   oldest            .venv-oldest: for tests, the oldest version of everything that pyproject.toml names

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

install() {
  "$python" -m pip install --quiet --disable-pip-version-check "$@" ||
    fail "The installation failed; see above. Run the same command again to go on."
}

# What tests need are over a hundred packages: uv takes a tenth of pip's time for them. It does not read pip's settings,
# so where only pip knows of an index, pip installs them.
install_by_uv() {
  "$python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --requirement "$repository/tools/locked/uv.txt" &&
    "$environment/bin/uv" pip install --quiet --python "$python" --require-hashes \
      --requirement "$repository/tools/locked/test.txt"
}

install_locked() {
  if [ "$1" = run ] || ! install_by_uv; then
    install --require-hashes --requirement "$repository/tools/locked/$1.txt"
  fi
  # What builds it is locked, too.
  install --no-deps --no-build-isolation --editable "$repository"
}

# Versions move without a file of ours changing, so this is asked every time.
install_newest() {
  install --upgrade --upgrade-strategy eager --editable "$repository[test,check]"
}

# Without what only checks need: import-linter would raise rich.
install_oldest() {
  install uv
  "$environment/bin/uv" pip install --quiet --python "$python" --resolution lowest-direct \
    --editable "$repository[test]" || fail "The installation failed; see above."
}

prepare_environment() {
  local kind="$1" base stamp wanted
  case "$kind" in
    newest | oldest)
      environment="$repository/.venv-$kind"
      python="$environment/bin/python"
      ;;
  esac
  stamp="$environment/.installed-$kind"
  wanted="$(cat "$repository/pyproject.toml" "$repository/tools/locked/"*.txt | cksum) $repository"
  if [ "$kind" = oldest ] && [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    # What is there and newer would be kept.
    rm -rf "$environment"
  fi
  # An environment that was interrupted half-way, or whose Python is gone, is made anew.
  if ! { [ -x "$python" ] && "$python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }; then
    base="$(find_python)"
    printf 'Making %s …\n' "$environment" >&2
    "$base" -m venv --clear "$environment" || fail "Could not make $environment."
  fi
  if [ "$kind" != newest ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    return
  fi
  printf 'Installing Rowmill into %s …\n' "$environment" >&2
  rm -f "$environment/.installed-"*
  case "$kind" in
    newest) install_newest ;;
    oldest) install_oldest ;;
    *) install_locked "$kind" ;;
  esac
  # Written last: an interrupted installation is done again. What tests need is enough for running, too.
  printf '%s\n' "$wanted" >"$stamp"
  if [ "$kind" = test ]; then
    printf '%s\n' "$wanted" >"$environment/.installed-run"
  fi
}
